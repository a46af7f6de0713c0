/**
 * Rounds in which every contender gets a turn, so that a moment at which the machine is busy with something else
 * falls on all of them. All proxies run all the time; the idle ones cost nothing but their health checks.
 */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { request as plainRequest } from 'node:http';
import { request as secureRequest } from 'node:https';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { processorMs } from './processes.ts';
import { type RunningProxy, type StartProxy, startProxy } from './proxies.ts';
import { asUsers, type Scene } from './scene.ts';

export interface Contender {
  readonly name: string;
  readonly start: StartProxy;
}

export interface Load {
  readonly connections: number;
  readonly tls?: boolean;
  request(cookie?: string): string;
}

export interface Sample {
  readonly perSecond: number;
  /** User and system time of the proxy for each request. */
  readonly processorUs: number;
}

export interface Samples {
  readonly name: string;
  readonly samples: readonly Sample[];
}

export interface OpenedProxy extends RunningProxy {
  readonly name: string;
  /** The sticky cookies of its instances, as `name=value`. */
  readonly cookies: readonly string[];
}

/** A proxy that knows no sticky cookie is sent one of the same length all the same. */
const anyCookie = `holdfast=${'A'.repeat(22)}`;

export async function openContenders(
  scene: Scene,
  contenders: readonly Contender[],
  { tls = false }: { tls?: boolean } = {},
): Promise<OpenedProxy[]> {
  const { folder, instances, certificate } = scene;
  const opened: OpenedProxy[] = [];
  for (const { name, start } of contenders) {
    const proxy = await startProxy(start, { folder, instances, ...(tls ? { tls: certificate } : {}) });
    opened.push({ ...proxy, name, cookies: await learnCookies(proxy.port, tls) });
  }
  return opened;
}

/** Asks as a new user until each instance's cookie was seen. */
async function learnCookies(port: number, tls: boolean): Promise<string[]> {
  const seen = new Set<string>();
  for (let asked = 0; asked < 50 && seen.size < 2; asked++) {
    const cookie = await newUsersCookie(port, tls);
    if (cookie === undefined) return [anyCookie];
    seen.add(cookie);
  }
  if (seen.size < 2) throw new Error(`The proxy on port ${port} gave 50 new users the same sticky cookie.`);
  return [...seen];
}

function newUsersCookie(port: number, tls: boolean): Promise<string | undefined> {
  const request = tls ? secureRequest : plainRequest;
  const options = { port, host: '127.0.0.1', headers: { host: 'shop.example' }, rejectUnauthorized: false };
  return new Promise((resolve, reject) => {
    request(options, (response) => {
      response.resume();
      if (response.statusCode !== 200) reject(new Error(`port ${port} answers ${response.statusCode}`));
      resolve(response.headers['set-cookie']?.[0]?.split(';')[0]);
    })
      .once('error', reject)
      .end();
  });
}

interface WrkResult {
  readonly requests: number;
  readonly seconds: number;
  readonly badStatus: number;
  readonly broken: number;
}

export async function measureRounds(
  scene: Scene,
  contenders: readonly Contender[],
  load: Load,
): Promise<Samples[]> {
  const seconds = scene.isQuick ? 1 : 4;
  const results = contenders.map(({ name }) => ({ name, samples: [] as Sample[] }));
  const opened = await openContenders(scene, contenders, load);
  try {
    const turns = await Promise.all(
      opened.map(async (proxy, index) => ({
        proxy,
        files: await writeRequests(scene, asUsers(proxy.cookies, load.request)),
        samples: results[index]?.samples ?? [],
      })),
    );
    // Not measured: what is compiled or filled only once must not count in the first round.
    for (const { proxy, files } of turns) await runWrk(proxy.port, files, load, seconds);
    for (let round = 0; round < scene.rounds; round++) {
      // Each round begins with another contender, so that nobody always comes after the same one.
      const begin = round % turns.length;
      for (const { proxy, files, samples } of [...turns.slice(begin), ...turns.slice(0, begin)])
        samples.push(await measure(proxy, files, load, seconds));
      scene.progress(`round ${round + 1} of ${scene.rounds}`);
    }
  } finally {
    await Promise.all(opened.map((proxy) => proxy.stop()));
  }
  return results;
}

async function measure(
  { name, pid, port }: OpenedProxy,
  files: readonly string[],
  load: Load,
  seconds: number,
): Promise<Sample> {
  const beforeMs = processorMs(pid);
  const result = await runWrk(port, files, load, seconds);
  const usedMs = processorMs(pid) - beforeMs;
  if (result.badStatus + result.broken > 0)
    throw new Error(`${name}: ${result.badStatus} bad answers, ${result.broken} broken connections.`);
  return { perSecond: result.requests / result.seconds, processorUs: (1_000 * usedMs) / result.requests };
}

let written = 0;

async function writeRequests(scene: Scene, requests: readonly string[]): Promise<string[]> {
  return Promise.all(
    requests.map(async (request) => {
      const file = join(scene.folder, `request-${written++}`);
      await writeFile(file, request, 'latin1');
      return file;
    }),
  );
}

const script = fileURLToPath(new URL('load.lua', import.meta.url));

async function runWrk(
  port: number,
  files: readonly string[],
  { connections, tls }: Load,
  seconds: number,
): Promise<WrkResult> {
  const url = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;
  const how = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script];
  const { stdout } = await promisify(execFile)('wrk', [...how, url, '--', ...files]);
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as WrkResult;
}

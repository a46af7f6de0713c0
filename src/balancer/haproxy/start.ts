import { readFile } from 'node:fs/promises';
import net from 'node:net';
import { HoldfastError } from '../../support/errors.ts';
import type { EngineOptions } from '../engine.ts';
import { digestIn, renderHaproxyConfig } from './config.ts';
import { mapsIn, prepareHaproxyFolder } from './folder.ts';
import { filesIn, type HaproxyPlace } from './place.ts';
import { checkConfig, findHaproxy, type Haproxy, launchHaproxy, reloadHaproxy } from './process.ts';
import { readState } from './runtime.ts';
import { openRuntimeSocket } from './runtime-socket.ts';
import { emptyState, type RuntimeState } from './wanted-state.ts';

/**
 * From options to a HAProxy that runs with them: the one that runs in the folder, if its configuration is the same; the
 * same process with the new configuration, if it is ours; or a new one. In each case it goes on with the instances
 * that it knew.
 */
export interface Started {
  readonly options: EngineOptions;
  readonly config: string;
  readonly haproxy: Haproxy;
}

const portTries = 5;

/** Port 0 becomes one that is free at the moment; should somebody be faster, another one. */
export async function startOnPort(
  options: EngineOptions,
  where: HaproxyPlace,
  binary: string,
): Promise<Started> {
  for (let attempt = 1; ; attempt++) {
    const port = options.listen.port || (await freePort(options.listen.host));
    const fixed = { ...options, listen: { ...options.listen, port } };
    try {
      return await start(fixed, where, binary);
    } catch (error) {
      const isTaken = error instanceof HoldfastError && error.code === 'LISTEN_FAILED';
      if (!isTaken || options.listen.port !== 0 || attempt >= portTries) throw error;
    }
  }
}

async function start(options: EngineOptions, where: HaproxyPlace, binary: string): Promise<Started> {
  const files = filesIn(where.folder);
  const digest = digestIn(renderHaproxyConfig(options, where));
  const running = await findHaproxy(files);
  const isSame = running?.digest === digest;
  if (running !== undefined && !isSame && !running.isOurs) throw notOurs(where.folder);
  const last = running === undefined ? emptyState : await held(where);
  const config = await prepareHaproxyFolder(options, where, last);
  await checkConfig(binary, files);
  if (isSame) return { options, config, haproxy: running };
  const haproxy =
    running === undefined
      ? await launchHaproxy(binary, files, digest, options.accessLog?.file)
      : await reloadHaproxy(files, digest);
  return { options, config, haproxy };
}

const notOurs = (folder: string): HoldfastError =>
  new HoldfastError('ALREADY_RUNNING', `A HAProxy with another configuration runs in ${folder}`, {
    remedy: 'Let it load what `holdfast balancer --print-config` prints, or stop it.',
  });

/** What a running HAProxy holds; nothing, where it does not tell. */
async function held(where: HaproxyPlace): Promise<RuntimeState> {
  const files = filesIn(where.folder);
  try {
    const maps = mapsIn(await readFile(files.config, 'utf8'), files);
    const socket = await openRuntimeSocket(files.runtime);
    try {
      return await readState(files, maps, (commands) => Promise.all(socket.askAll(commands)));
    } finally {
      socket.close();
    }
  } catch {
    return emptyState;
  }
}

async function freePort(host: string): Promise<number> {
  const server = net.createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, host, resolve);
    });
    return (server.address() as net.AddressInfo).port;
  } catch (error) {
    throw new HoldfastError('LISTEN_FAILED', `Cannot listen on ${host}: ${(error as Error).message}`, {
      remedy: 'Name an address of this machine (balancer.listen).',
      cause: error,
    });
  } finally {
    server.close();
  }
}

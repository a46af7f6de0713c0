/**
 * `holdfast up`: the whole cluster on one machine. It starts the parts in the order in which they need each other
 * (arbiter, configuration, agents, balancer), keeps them running, and stops them in the reverse order.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openArbiter } from '../database/arbiter.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../database/embedded.ts';
import { withoutPassword } from '../database/url.ts';
import { processIdentity } from '../platform/index.ts';
import { type Configuration, loadConfiguration } from '../settings/index.ts';
import { arbiterFileOf, configuredDatabase, stateFolderOf } from './connection.ts';
import { checkListen } from './listen-check.ts';
import { styled } from './output.ts';
import { publishConfiguration } from './publish.ts';
import { readStatus } from './status.ts';
import type { Status } from './status-view.ts';
import { type Part, startPart } from './supervisor.ts';
import { takeUpLock } from './up-lock.ts';

interface UpOptions {
  readonly config: string;
  readonly json?: boolean;
}

type Level = 'info' | 'warn' | 'error';

export async function upCommand(options: UpOptions): Promise<void> {
  const say = options.json ? sayJson : sayText;
  const loaded = await loadConfiguration(options.config);
  const { configuration } = loaded;
  const stateFolder = stateFolderOf(options.config);
  await mkdir(join(stateFolder, 'logs'), { recursive: true, mode: 0o700 });

  const stop = new AbortController();
  /** What was acquired, to be released in the reverse order, wherever the start fails. */
  const releases: { readonly what: string; readonly release: () => Promise<void> }[] = [];
  const parts: Part[] = [];
  let signals = 0;
  const onSignal = () => {
    if (++signals > 1) for (const part of parts) part.kill();
    stop.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);

  try {
    const lock = await takeUpLock(stateFolder);
    releases.push({ what: 'lock', release: () => lock.release() });
    await checkListens(configuration);
    const url = await startArbiter(configuration, stateFolder, say, releases, stop.signal);
    const arbiter = openArbiter({ url, applicationName: 'holdfast up', max: 1 });
    releases.push({ what: 'connection', release: () => arbiter.close() });
    const revision = await publishConfiguration(arbiter, loaded, `up with ${options.config}`);
    say(`configuration  revision ${revision.number}${revision.stored ? ' (new)' : ''}`);

    const start = (name: string, args: readonly string[]) => {
      const part = startPart({
        name,
        args: [...args, '--state', stateFolder, '-c', join(stateFolder, 'none')],
        environment: { ...process.env, HOLDFAST_DATABASE: url },
        directory: dirname(resolve(options.config)),
        logFile: join(stateFolder, 'logs', `${name}.log`),
        notice: say,
      });
      parts.push(part);
      const limitMs = configuration.app.stop.killMs + 5_000;
      releases.push({ what: name, release: () => part.stop(limitMs) });
    };
    for (const { name } of configuration.app.instances)
      start(`agent ${name}`.replace('agent ', ''), ['agent', '--instance', name]);
    start('balancer', ['balancer']);

    const status = await waitUntilUp(() => readStatus(arbiter, url), configuration, say, stop.signal);
    if (status && !stop.signal.aborted) {
      if (options.json) sayJson('ready', 'info', status);
      else process.stdout.write(picture(status, configuration, options.config));
    }
    await untilAborted(stop.signal);
  } finally {
    if (stop.signal.aborted) say('stopping …');
    await releaseAll(releases);
    if (stop.signal.aborted) say('everything has stopped');
  }
}

/** Every address of the balancer; port 0 is always free. */
async function checkListens({ balancer }: Configuration): Promise<void> {
  await checkListen(balancer.listen, 'balancer.listen');
  if (balancer.tls?.redirectFrom) await checkListen(balancer.tls.redirectFrom, 'balancer.tls.redirectFrom');
  if (balancer.admin) await checkListen(balancer.admin, 'balancer.admin');
}

/** The configured arbiter, or the embedded one, which is started again should it end. */
async function startArbiter(
  configuration: Configuration,
  stateFolder: string,
  say: (text: string, level?: Level) => void,
  releases: { what: string; release: () => Promise<void> }[],
  stop: AbortSignal,
): Promise<string> {
  const configured = await configuredDatabase(configuration);
  if (configured) {
    say(`arbiter        ${withoutPassword(configured)}`);
    return configured;
  }
  const folder = join(stateFolder, 'postgres');
  const start = () => startEmbeddedPostgres(folder, { database: configuration.cluster });
  let server: EmbeddedPostgres = await start();
  let stopping = false;
  const keepRunning = async () => {
    while (!stopping) {
      await server.exited;
      if (stopping) return;
      say('the embedded PostgreSQL has ended; starting it again', 'warn');
      server = await start().catch(async (error: Error) => {
        say(error.message, 'error');
        await delay(1_000, undefined, { signal: stop }).catch(() => undefined); // stopping
        return server;
      });
    }
  };
  void keepRunning();
  releases.push({
    what: 'arbiter',
    release: async () => {
      stopping = true;
      await server.stop();
      await rm(arbiterFileOf(stateFolder), { force: true });
    },
  });
  await writeFile(arbiterFileOf(stateFolder), `${JSON.stringify({ url: server.url })}\n`, { mode: 0o600 });
  say(`arbiter        embedded PostgreSQL at 127.0.0.1:${server.port} (process ${server.pid})`);
  return server.url;
}

/** Parts at once, then the rest one by one, last acquired first. */
async function releaseAll(
  releases: readonly { what: string; release: () => Promise<void> }[],
): Promise<void> {
  const infrastructure = releases.filter(({ what }) => ['lock', 'connection', 'arbiter'].includes(what));
  const parts = releases.filter((one) => !infrastructure.includes(one));
  const balancer = parts.find(({ what }) => what === 'balancer');
  await balancer?.release();
  await Promise.all(parts.filter((one) => one !== balancer).map(({ release }) => release()));
  for (const { release } of infrastructure.toReversed()) await release();
}

/** Until every instance is up and the balancer serves; undefined when stopped before. */
async function waitUntilUp(
  read: () => Promise<Status>,
  configuration: Configuration,
  say: (text: string, level?: Level) => void,
  stop: AbortSignal,
): Promise<Status | undefined> {
  const patienceMs = configuration.app.health.startWithinMs;
  const startedMs = performance.now();
  let told = false;
  while (!stop.aborted) {
    const status = await read().catch(() => undefined); // the arbiter may be starting again
    if (status && isUp(status)) return status;
    if (!told && performance.now() - startedMs > patienceMs) {
      told = true;
      const waiting = status?.instances.filter(({ state }) => state !== 'up') ?? [];
      say(
        `still waiting: ${waiting.map((one) => `${one.instance} is ${one.state} (${one.reason})`).join(', ')}`,
        'warn',
      );
    }
    await delay(100, undefined, { signal: stop }).catch(() => undefined); // stopping
  }
  return undefined;
}

const isUp = (status: Status): boolean =>
  status.instances.every(
    ({ state, agentPid }) => state === 'up' && agentPid !== null && processLives(agentPid),
  ) &&
  status.balancers.some(
    (balancer) => balancer.state === 'up' && processLives((balancer as { pid?: number }).pid ?? 0),
  );

/** A row of an earlier `up` that was killed still says `up`; its process does not exist, or is a zombie. */
const processLives = (pid: number): boolean => pid > 0 && processIdentity(pid) !== undefined;

/** How a person at this prompt calls us: in a clone of the project there is no built command. */
const invocation = import.meta.url.endsWith('.ts') ? 'npm run -s holdfast --' : 'npx holdfast';

function picture(status: Status, configuration: Configuration, configFile: string): string {
  const { host, port } = configuration.balancer.listen;
  const scheme = configuration.balancer.tls ? 'https' : 'http';
  const address = configuration.app.url ?? `${scheme}://${host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`;
  const first = status.instances[0];
  const rows = status.instances.map(
    (one, index) =>
      `   ${index === status.instances.length - 1 ? '└' : '├'}─ ${one.instance.padEnd(12)} ${styled('green', one.state)}   http://${one.address}   process ${one.pid}, agent ${one.agentPid}`,
  );
  return `
  ${styled('bold', status.cluster ?? '')} is up

   ${styled(['bold', 'cyan'], address)}   balancer
${rows.join('\n')}

  Try:
    open ${address}, log in, and then
    kill -9 ${first?.pid}                 the users of ${first?.instance} stay logged in elsewhere
    kill -STOP ${first?.pid}              it is frozen: found by its silence, and started again later
    ${invocation} status --watch -c ${configFile}
${configuration.events.length === 0 ? '' : `    ${invocation} events list -c ${configFile}\n`}
  Ctrl-C stops everything. Logs: ${join(stateFolderOf(configFile), 'logs')}

`;
}

function sayText(text: string, level: Level = 'info'): void {
  const time = styled('dim', new Date().toTimeString().slice(0, 8));
  const shown = level === 'info' ? text : styled(level === 'warn' ? 'yellow' : 'red', text);
  process.stdout.write(`${time}  ${shown}\n`);
}

function sayJson(text: string, level: Level = 'info', status?: Status): void {
  process.stdout.write(
    `${JSON.stringify({ time: new Date().toISOString(), level, message: text, status })}\n`,
  );
}

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });

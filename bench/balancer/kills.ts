/**
 * One of two instances is killed or frozen while users are at work, again and again, behind each proxy: who sees an
 * error, who waits and for how long, and whether an order ever arrives twice.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findFreePort } from '../../src/platform/free-port.ts';
import { haproxyPlain, haproxyTuned, health, nginxDefaults } from './configurations.ts';
import { duration, table } from './figures.ts';
import type { Question } from './kill-instance.ts';
import { type Answered, buyers, isFailed, readers, Users } from './kill-users.ts';
import { drawPicture, Timeline, toMs } from './picture.ts';
import { loadCore, type Started, startOnCore } from './processes.ts';
import { haproxy, holdfast, nginx, type RunningProxy, startProxy } from './proxies.ts';
import { atMost, type PartReport, type Target } from './report.ts';
import type { Contender } from './rounds.ts';
import type { Scene } from './scene.ts';

const contenders: readonly Contender[] = [
  { name: 'Holdfast', start: holdfast({ health }) },
  { name: 'HAProxy, plain check', start: haproxy(haproxyPlain) },
  { name: 'HAProxy, tuned', start: haproxy(haproxyTuned) },
  { name: 'nginx, defaults', start: nginx(nginxDefaults) },
];

type Misfortune = 'killed' | 'frozen';

/** How long an instance stays away. */
const awayMs = 6_000;
const beforeMs = 1_000;
const usedAgainWithinMs = 30_000;

const slowestKilledMs = 100;
/** Until the checks have found a frozen instance that had just passed one, and as much again as they may be late. */
const slowestFrozenMs = health.everyMs * health.unhealthyAfter + health.timeoutMs + 500;

const introductions: Record<Misfortune, string> = {
  killed: `Killed (\`kill -9\`), and back after ${awayMs / 1_000} s:`,
  frozen: `Frozen (\`SIGSTOP\`) for ${awayMs / 1_000} s:`,
};

interface Slowest {
  readonly ms: number;
  readonly beganMs: number;
}

interface Outcome {
  readonly misfortune: Misfortune;
  readonly times: number;
  /** How long the instance was away. */
  readonly awayMs: number;
  readonly gets: number;
  readonly failedGets: number;
  readonly slowestMs: number;
  /** Each time: the slowest, and when it began, counted from the misfortune. */
  readonly slowestOfEach: readonly Slowest[];
  readonly posts: number;
  readonly failedPosts: number;
  /** Orders that arrived more than once. */
  readonly repeatedPosts: number;
  /** Of the failed ones, those that had arrived. */
  readonly arrivedThoughFailed: number;
  /** By the embedded engine's own account: requests that ended in an error, and those of unknown fate among them. */
  readonly ledger: { readonly failed: number; readonly unknown: number } | undefined;
}

interface KillsOf {
  readonly name: string;
  readonly outcomes: Outcome[];
  readonly timelines: Record<Misfortune, Timeline>;
}

/** One of the two instances, whichever process it is at the moment. */
class Instance {
  readonly port: number;
  readonly #ordersFile: string;
  #process: Started | undefined;
  #successor: Started | undefined;

  constructor(port: number, ordersFile: string) {
    this.port = port;
    this.#ordersFile = ordersFile;
  }

  /** A process that has all but begun to listen: in life it would not start on the processor of its users. */
  async prepareSuccessor(): Promise<void> {
    const program = fileURLToPath(new URL('kill-instance.ts', import.meta.url));
    const args = [program, String(this.port), this.#ordersFile];
    this.#successor = startOnCore(loadCore, process.execPath, args, { channel: true });
    await this.#successor.said();
  }

  async startSuccessor(): Promise<void> {
    this.#process = this.#successor;
    this.#successor = undefined;
    this.#process?.child.send('listen' satisfies Question);
    await this.#process?.listening(this.port);
  }

  async prepareFor(misfortune: Misfortune): Promise<void> {
    if (misfortune === 'killed') await this.prepareSuccessor();
  }

  strike(misfortune: Misfortune): void {
    this.#process?.child.kill(misfortune === 'killed' ? 'SIGKILL' : 'SIGSTOP');
  }

  async recover(misfortune: Misfortune): Promise<void> {
    if (misfortune === 'killed') await this.startSuccessor();
    else this.#process?.child.kill('SIGCONT');
  }

  /** Resolves when users are served here again. */
  async usedAgain(): Promise<void> {
    await delay(500); // what an instance had in hand when it was frozen is no new request
    const untilMs = performance.now() + usedAgainWithinMs;
    const before = await this.#requests();
    while ((await this.#requests()) < before + readers) {
      if (performance.now() > untilMs) throw new Error('An instance that came back is not used again.');
      await delay(100);
    }
  }

  async #requests(): Promise<number> {
    this.#process?.child.send('requests' satisfies Question);
    return (await this.#process?.said()) as number;
  }

  /** The path of each order, as often as it arrived. */
  async orders(): Promise<string[]> {
    return (await readFile(this.#ordersFile, 'utf8')).trimEnd().split('\n');
  }

  async stop(): Promise<void> {
    await Promise.all([this.#process?.stop(), this.#successor?.stop()]);
  }
}

async function openInstances(scene: Scene, name: string): Promise<Instance[]> {
  const instances: Instance[] = [];
  for (const number of [1, 2]) {
    const instance = new Instance(await findFreePort(), join(scene.folder, `orders of ${name} ${number}`));
    await instance.prepareSuccessor();
    await instance.startSuccessor();
    instances.push(instance);
  }
  return instances;
}

async function strikeAgainAndAgain(scene: Scene, { name, start }: Contender): Promise<KillsOf> {
  const instances = await openInstances(scene, name);
  const ports = instances.map(({ port }) => port);
  const proxy = await startProxy(start, { folder: scene.folder, instances: ports });
  const users = new Users(proxy.port);
  const timelines = { killed: new Timeline(), frozen: new Timeline() };
  const outcomes: Outcome[] = [];
  try {
    for (const instance of instances) await instance.usedAgain();
    users.take();
    for (const [misfortune, times] of [
      ['killed', scene.kills],
      ['frozen', scene.freezes],
    ] as const) {
      const ledgerBefore = await ledgerOf(name, proxy);
      const answered: Answered[][] = [];
      const slowestOfEach: Slowest[] = [];
      for (let time = 0; time < times; time++) {
        const instance = instances[time % 2];
        if (!instance) continue;
        const atMs = await strikeOnce(users, instance, misfortune);
        const seen = users.take();
        answered.push(seen);
        timelines[misfortune].add(seen, atMs);
        slowestOfEach.push(slowestSince(atMs, seen));
        scene.progress(`${name}: ${misfortune} ${time + 1} of ${times}`);
      }
      const arrived = (await Promise.all(instances.map((instance) => instance.orders()))).flat();
      const ledger = difference(ledgerBefore, await ledgerOf(name, proxy));
      if (times > 0)
        outcomes.push({
          ...outcomeOf(answered.flat(), arrived),
          misfortune,
          times,
          awayMs,
          slowestMs: Math.max(...slowestOfEach.map(({ ms }) => ms)),
          slowestOfEach,
          ledger,
        });
    }
  } finally {
    await users.stop();
    await Promise.all([proxy.stop(), ...instances.map((instance) => instance.stop())]);
  }
  return { name, outcomes, timelines };
}

/** Resolves when all is as before, with the moment of the misfortune. */
async function strikeOnce(users: Users, instance: Instance, misfortune: Misfortune): Promise<number> {
  await instance.prepareFor(misfortune);
  await delay(beforeMs);
  const atMs = performance.now();
  instance.strike(misfortune);
  await delay(awayMs);
  await instance.recover(misfortune);
  await instance.usedAgain();
  await delay(Math.max(beforeMs, atMs + toMs - performance.now()));
  users.giveUp(beforeMs);
  await delay(beforeMs / 10); // what was given up has been counted
  return atMs;
}

function slowestSince(atMs: number, answered: readonly Answered[]): Slowest {
  let slowest: Slowest = { ms: 0, beganMs: 0 };
  for (const { kind, startMs, endMs } of answered)
    if (kind === 'GET' && endMs >= atMs && endMs - startMs > slowest.ms)
      slowest = { ms: endMs - startMs, beganMs: startMs - atMs };
  return slowest;
}

async function ledgerOf(name: string, proxy: RunningProxy): Promise<Outcome['ledger']> {
  if (name !== 'Holdfast') return undefined;
  const { instances } = await proxy.status();
  return {
    failed: instances.reduce((sum, { failed }) => sum + failed, 0),
    unknown: instances.reduce((sum, { unknown }) => sum + unknown, 0),
  };
}

const difference = (before: Outcome['ledger'], after: Outcome['ledger']): Outcome['ledger'] =>
  before && after && { failed: after.failed - before.failed, unknown: after.unknown - before.unknown };

function outcomeOf(answered: readonly Answered[], arrived: readonly string[]) {
  const gets = answered.filter(({ kind }) => kind === 'GET');
  const posts = answered.filter(({ kind }) => kind === 'POST');
  const failedPosts = posts.filter(isFailed);
  const arrivals = new Map<string, number>();
  for (const order of arrived) arrivals.set(order, (arrivals.get(order) ?? 0) + 1);
  return {
    gets: gets.length,
    failedGets: gets.filter(isFailed).length,
    posts: posts.length,
    failedPosts: failedPosts.length,
    repeatedPosts: posts.filter(({ order }) => (arrivals.get(order) ?? 0) > 1).length,
    arrivedThoughFailed: failedPosts.filter(({ order }) => arrivals.has(order)).length,
  };
}

function targetsOf({ misfortune, ...outcome }: Outcome): Target[] {
  const count = (value: number) => String(value);
  const slowestMs = misfortune === 'killed' ? slowestKilledMs : slowestFrozenMs;
  const { failed = Number.NaN, unknown = Number.NaN } = outcome.ledger ?? {};
  return [
    atMost(`${misfortune}: failed GET`, outcome.failedGets, 0, count),
    atMost(`${misfortune}: slowest GET`, outcome.slowestMs, slowestMs, duration),
    atMost(`${misfortune}: POST that arrived twice`, outcome.repeatedPosts, 0, count),
    {
      what: `${misfortune}: failed POST in the kill ledger`,
      measured: `${failed} failed, ${unknown} of them unknown`,
      wanted: `${outcome.failedPosts + outcome.failedGets}, as users saw; the ${outcome.arrivedThoughFailed} that had arrived unknown`,
      isMet: failed === outcome.failedPosts + outcome.failedGets && unknown >= outcome.arrivedThoughFailed,
    },
  ];
}

function outcomesTable(results: readonly KillsOf[], misfortune: Misfortune): string {
  return table(
    [
      'proxy',
      'times',
      'failed GET',
      'slowest GET',
      'failed POST',
      'POST arrived twice',
      'kill ledger: unknown',
    ],
    results.flatMap(({ name, outcomes }) =>
      outcomes
        .filter((outcome) => outcome.misfortune === misfortune)
        .map((outcome) => [
          name,
          String(outcome.times),
          `${outcome.failedGets} of ${outcome.gets}`,
          duration(outcome.slowestMs),
          `${outcome.failedPosts} of ${outcome.posts}`,
          String(outcome.repeatedPosts),
          outcome.ledger ? String(outcome.ledger.unknown) : '',
        ]),
    ),
  );
}

function pictureOf(scene: Scene, kills: readonly KillsOf[]): string {
  const column = (misfortune: Misfortune, signal: string, times: number) => {
    const panels = kills.flatMap(({ name, outcomes, timelines }) =>
      outcomes
        .filter((outcome) => outcome.misfortune === misfortune)
        .map(({ failedGets, failedPosts, slowestMs, awayMs }) => ({
          title: name,
          note: `failed: ${failedGets} GET, ${failedPosts} POST; slowest ${duration(slowestMs)}`,
          timeline: timelines[misfortune],
          backMs: awayMs,
        })),
    );
    const title = `One of two instances ${misfortune} (${signal}), ${times} ×`;
    return { title, since: `it was ${misfortune}`, panels };
  };
  const columns = [column('killed', 'kill -9', scene.kills), column('frozen', 'SIGSTOP', scene.freezes)];
  const description = columns
    .flatMap(({ title, panels }) => panels.map((panel) => `${title}, ${panel.title}: ${panel.note}.`))
    .join(' ');
  return drawPicture(
    columns.filter(({ panels }) => panels.length > 0),
    description,
  );
}

export async function measureKills(scene: Scene): Promise<PartReport & { picture: string }> {
  const kills: KillsOf[] = [];
  for (const contender of contenders) kills.push(await strikeAgainAndAgain(scene, contender));
  const own = kills.find(({ name }) => name === 'Holdfast');
  return {
    picture: pictureOf(scene, kills),
    results: kills.map(({ name, outcomes }) => ({ name, outcomes })),
    targets: own?.outcomes.flatMap(targetsOf) ?? [],
    markdown: [
      `${readers} keep-alive connections that read, ${buyers} that order; an answer takes an instance 10 ms.`,
      ...(['killed', 'frozen'] as const)
        .filter((misfortune) => own?.outcomes.some((outcome) => outcome.misfortune === misfortune))
        .flatMap((misfortune) => [introductions[misfortune], outcomesTable(kills, misfortune)]),
    ].join('\n\n'),
  };
}

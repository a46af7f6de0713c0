/** What people do meanwhile: ask for runs, pause and resume events, roll out a revision, restart what stays down. */
import type { Query } from '../../database/arbiter.ts';
import { replaceAgent } from './faults.ts';
import { simulatedMachine } from './machine.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export function planPeople(world: World, random: Random): void {
  const query = world.arbiter.queryFor({
    agentId: 'person',
    machine: simulatedMachine(world.time, { rate: 1, wallOffsetMs: 0 }),
    network: 'whole',
  });
  const { beginMs, endMs } = world.faults;
  const events = world.eventNames;
  /** The request arrives in the very millisecond in which something may be due. */
  const askAt = (arrivesMs: number, event: string): void => {
    world.time.at(arrivesMs - 50, () => {
      const release = world.interventions.holdNext('person', 'event_trigger', () =>
        world.time.at(arrivesMs, release),
      );
      ask(world, query, event);
    });
  };
  for (let index = 0; index < 4; index++) {
    const atMs = random.between(beginMs, endMs);
    const event = random.pick(events);
    if (random.chance(0.5)) world.time.at(atMs, () => ask(world, query, event));
    else askAt(Math.ceil(atMs / 1_000) * 1_000, event);
  }
  if (random.chance(0.4)) {
    const pausedMs = random.between(beginMs, endMs - 5_000);
    planPause(world, query, random.pick(events), pausedMs, random.between(pausedMs, endMs - 2_000));
  }
  for (let revision = 1; revision < world.revisions; revision++) planRollout(world, random);
  world.time.at(endMs, () => restartTheDead(world, random.chance(0.3)));
}

/** Nobody is there who would do anything, except to bring back what is down. */
export function planOperator(world: World, everyMs: number): void {
  const { beginMs, endMs } = world.faults;
  for (let atMs = beginMs; atMs < endMs; atMs += everyMs)
    world.time.at(atMs, () => restartTheDead(world, false));
  world.time.at(endMs, () => restartTheDead(world, false));
}

function ask(world: World, query: Query, event: string): void {
  void query('select holdfast.event_trigger($1, $2, $3) as answer', [event, 'somebody', null]).then(
    () => world.happened('run asked for by a person'),
    () => world.happened('request of a person failed'),
  );
}

function planPause(world: World, query: Query, event: string, fromMs: number, untilMs: number): void {
  const pause = (): Promise<unknown> =>
    query('select holdfast.event_pause($1, $2, $3) as answer', [event, 'somebody', 'to see what happens']);
  const resume = async (): Promise<void> => {
    const done = await query('select holdfast.event_resume($1) as answer', [event]).then(
      () => true,
      () => false,
    );
    if (!done) world.time.at(world.time.nowMs() + 500, () => void resume());
  };
  world.time.at(fromMs, () => {
    void pause().then(
      () => world.happened('event paused'),
      () => undefined, // the arbiter is away; the person gives up
    );
  });
  world.time.at(untilMs, () => void resume());
  world.time.at(world.faults.endMs, () => void resume()); // a failover may have forgotten it
}

/** From some moment on agents come with the next revision, and the others are replaced one after another. */
function planRollout(world: World, random: Random): void {
  const { beginMs, endMs } = world.faults;
  const startMs = random.between(beginMs, endMs - 12_000);
  const replaceOld = (): void => {
    const old = world.agents.find(
      ({ machine, ended, revision }) => !machine.isDead && ended === 'no' && revision < world.revision,
    );
    if (old) replaceAgent(world, old, random.between(10, 1_000));
  };
  world.time.at(startMs, () => {
    world.happened('another revision');
    world.roll();
    for (let atMs = startMs; atMs < endMs; atMs += random.between(200, 3_000))
      world.time.at(atMs, replaceOld);
  });
  world.time.at(endMs, () => {
    for (const _ of world.agents) replaceOld();
  });
}

/** At the end names that nobody has come back, all of them or all but some. */
function restartTheDead(world: World, mayStayAway: boolean): void {
  const isThere = (name: string): boolean =>
    world.agents.some(
      ({ instance, machine, ended }) => instance === name && !machine.isDead && ended !== 'refused',
    );
  const absent = world.names.filter((name) => !isThere(name));
  const staysAway = mayStayAway && absent.length < world.names.length;
  for (const name of staysAway ? absent.slice(1) : absent) world.addAgent(name, []);
  if (staysAway && absent[0]) world.happened('instance that never comes back');
}

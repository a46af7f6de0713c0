/**
 * The application beside a simulated agent, and the work that it does when an event is run there.
 *
 * A `post` is work of the instance: it sleeps when the machine sleeps and dies with the instance. A `command` is a
 * process of its own: it survives the instance, goes on while its agent is frozen, and is killed by its watchdog
 * when the lease that it was told of is over. Both take a while to stop. Work that slept looks at its lease before
 * it goes on, as the SDK and the agent's own clocks make it do.
 */
import type { EventDefinition } from '../../events/definition.ts';
import type { Executor, Proof, RunOrder, Work, WorkResult } from '../../events/execution/execution.ts';
import type { JournalEntry } from '../ledger-checker.ts';
import type { Execution, Journal } from './journal.ts';
import type { Machine } from './machine.ts';
import type { Random } from './random.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface Workload {
  /** The longest that a run of it usually takes. */
  readonly usualMs: number;
  /** How often it takes much longer than that. */
  readonly slowChance: number;
  readonly failChance: number;
}

export interface SimulatedApplication {
  readonly isUp: boolean;
  executorOf(definition: EventDefinition): Executor;
  crash(): void;
  start(): void;
}

export interface ApplicationOptions {
  readonly time: VirtualTime;
  readonly random: Random;
  readonly journal: Journal;
  readonly agentId: string;
  readonly instance: string;
  /** The agent's process, and with it the instance's; what runs beside them is on the host. */
  readonly machine: Machine;
  readonly host: Machine;
  readonly stopWorkMs: number;
  workloadOf(event: string): Workload;
  memberToken(): bigint | undefined;
  onEvent(kind: string): void;
  onViolation(text: string): void;
}

const stopped = (reason: string): WorkResult => ({ outcome: 'lost', reason, result: null });

export function simulatedApplication(options: ApplicationOptions): SimulatedApplication {
  const { time, random, journal, machine, host, onEvent } = options;
  let isUp = true;
  const ofInstance = new Set<(why: string) => void>();

  function begin(order: RunOrder): Execution {
    const memberToken = options.memberToken();
    const { event, place, dueMs, cause, attempt, token, occurrence } = order;
    if (memberToken === undefined)
      options.onViolation(`P9: ${options.agentId} begins ${event} without a lease`);
    const execution: Execution = {
      entry: {
        ...{ event, place, dueMs, cause, attempt, token: String(token), agent: options.agentId },
        ...{ beganMs: time.nowMs(), endedMs: undefined, how: undefined },
      },
      occurrence,
      instance: options.instance,
      memberToken: memberToken ?? 0n,
      asleepSinceMs: undefined,
    };
    journal.began(execution);
    return execution;
  }

  function work(definition: EventDefinition, order: RunOrder, proof: Proof): Work {
    const isCommand = definition.settings.run?.kind === 'command';
    const where = isCommand ? host : machine;
    const execution = begin(order);
    const { promise: finished, resolve } = Promise.withResolvers<WorkResult>();
    const end = (how: NonNullable<JournalEntry['how']>, result: WorkResult): void => {
      if (!journal.live.has(execution)) return;
      journal.ended(execution, how, execution.asleepSinceMs ?? time.nowMs()); // asleep it does nothing
      ofInstance.delete(killed);
      onEvent(`work ${how}`);
      machine.deliver(() => resolve(result));
    };
    const killed = (why: string): void => end('died', stopped(why));
    if (!isCommand && !isUp) {
      end('died', stopped('the instance is down'));
      return { finished, abort: () => undefined };
    }
    if (!isCommand) ofInstance.add(killed);
    where.watch({
      died: () => end('died', stopped('its machine died')),
      asleep() {
        if (journal.live.has(execution)) execution.asleepSinceMs = time.nowMs();
      },
      awake() {
        if (execution.asleepSinceMs === undefined || !journal.live.has(execution)) return;
        if (proof.remainingMs() > 0) {
          execution.asleepSinceMs = undefined;
          journal.woke(execution);
          return;
        }
        onEvent('work stopped when it woke without a lease');
        end('aborted', stopped('its lease ran out while it slept'));
      },
    });
    const { tookMs, fails } = drawWork(options.workloadOf(definition.name), random);
    where.timer(tookMs, () =>
      fails
        ? end('failed', { outcome: 'failed', reason: 'it failed', result: null })
        : end('completed', { outcome: 'succeeded', reason: null, result: 'done' }),
    );
    let cancelLimit: () => void = () => undefined;
    const allowFor = (ms: number): void => {
      cancelLimit();
      cancelLimit = host.timer(ms, () => {
        if (!journal.live.has(execution)) return;
        onEvent('command killed by its watchdog');
        end('aborted', stopped('killed: the lease was over'));
      });
    };
    if (isCommand) allowFor(proof.remainingMs());
    let aborted = false;
    return {
      finished,
      abort(why) {
        if (aborted) return;
        aborted = true;
        where.timer(random.between(0, options.stopWorkMs), () =>
          end('aborted', { outcome: 'failed', reason: why, result: null }),
        );
      },
      ...(isCommand && { renewed: allowFor }),
    };
  }

  return {
    get isUp() {
      return isUp;
    },
    executorOf: (definition) => (order, proof) => work(definition, order, proof),
    crash() {
      isUp = false;
      for (const kill of [...ofInstance]) kill('the instance died');
    },
    start() {
      isUp = true;
    },
  };
}

function drawWork(
  { usualMs, slowChance, failChance }: Workload,
  random: Random,
): { tookMs: number; fails: boolean } {
  const isSlow = random.chance(slowChance);
  const tookMs = isSlow ? random.between(2 * usualMs, 6 * usualMs) : random.between(5, usualMs);
  return { tookMs, fails: random.chance(failChance) };
}

/**
 * The arbiter and the network before it, as the agents of a simulation meet them: requests that are late, lost
 * before they were executed, or executed with their answer lost; a server that is frozen, restarted, or replaced
 * by a standby that had not received everything.
 */
import type { Query } from '../../database/arbiter.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { SimulatedDatabase } from './database.ts';
import type { Machine } from './machine.ts';
import type { Random } from './random.ts';
import type { VirtualTime } from './virtual-time.ts';

export const messageFaults = [
  'delayed',
  'lost before execution',
  'answer late',
  'answer lost',
  'stalled in the server',
  'reset',
] as const;
export type MessageFault = (typeof messageFaults)[number];

/** What stands at one end of the network. */
export interface Caller {
  readonly agentId: string;
  readonly machine: Machine;
  /** What the network lets through: everything, nothing, or its requests and no answer. */
  network: 'whole' | 'cut' | 'deaf';
  /** Somebody notified on that channel. Only a hint: it may be late, or lost. */
  notified?(channel: string): void;
}

export interface Execution {
  readonly caller: Caller;
  readonly text: string;
  readonly values: readonly unknown[];
  readonly rows: readonly Record<string, unknown>[];
  /** The moment that the statement saw as now. */
  readonly startedMs: number;
  readonly atMs: number;
}

const lostHints = 0.2;

interface Request {
  readonly caller: Caller;
  readonly text: string;
  readonly values: readonly unknown[];
  readonly answer: (rows: Record<string, unknown>[] | Error) => void;
}

export interface SimulatedArbiter {
  queryFor(caller: Caller): Query;
  /** What its clock shows. */
  nowMs(): number;
  readonly timeline: number;
  readonly isUp: boolean;
  freeze(): void;
  thaw(): void;
  /** Ends the server: what it was doing is gone, and who waited for it is told. */
  stop(): void;
  start(): void;
  /** From now on the standby receives nothing more. */
  cutReplication(): Promise<void>;
  /** The standby takes over, with a clock of its own. */
  promote(clockOffsetMs: number): Promise<void>;
}

export function simulatedArbiter(options: {
  time: VirtualTime;
  random: Random;
  database: SimulatedDatabase;
  /** What its clock shows at first. */
  epochMs: number;
  /** Who listens. */
  listeners(): Iterable<Caller>;
  /** The fault that the next message of this caller suffers, if any. */
  nextFault(caller: Caller): MessageFault | undefined;
  /** A message that is to arrive only when this resolves. */
  held(caller: Caller, text: string): Promise<void> | undefined;
  onExecution(execution: Execution): void | Promise<void>;
}): SimulatedArbiter {
  const { time, random, database } = options;
  let state: 'up' | 'frozen' | 'down' = 'up';
  let timeline = 1;
  let clockOffsetMs = options.epochMs;
  /** Rises when the server ends: what belongs to an earlier life is not executed. */
  let life = 0;
  let queue: (() => void)[] = [];
  let connected = new Set<Request>();

  const away = (why: string) =>
    new HoldfastError('ARBITER_UNAVAILABLE', `The arbiter cannot be reached: ${why}.`);
  const latencyMs = () => random.between(0.2, 15);

  function reply(request: Request, result: Record<string, unknown>[] | Error, delayMs = latencyMs()): void {
    time.at(time.nowMs() + delayMs, () => {
      if (request.caller.network === 'whole') request.caller.machine.deliver(() => request.answer(result));
    });
  }

  function notify(channels: ReadonlySet<string>): void {
    if (channels.size === 0) return;
    for (const listener of options.listeners()) {
      if (random.chance(lostHints)) continue;
      time.at(time.nowMs() + latencyMs(), () => {
        if (listener.network !== 'whole') return;
        for (const channel of channels) listener.machine.deliver(() => listener.notified?.(channel));
      });
    }
  }

  async function execute(request: Request, startedMs: number, fault?: MessageFault): Promise<void> {
    connected.delete(request);
    let result: Record<string, unknown>[] | Error;
    try {
      const at = { nowMs: clockOffsetMs + startedMs, timeline };
      const { rows, notified } = await database.run(request.text, request.values, at);
      result = rows;
      notify(notified);
      const { caller, text, values } = request;
      await options.onExecution({ caller, text, values, rows: result, startedMs, atMs: time.nowMs() });
    } catch (error) {
      result = error as Error;
    }
    if (fault !== 'answer lost')
      reply(request, result, fault === 'answer late' ? random.between(50, 2_400) : undefined);
  }

  function arrive(request: Request, fault: MessageFault | undefined): void | Promise<void> {
    if (request.caller.network === 'cut') return;
    if (state === 'down') return reply(request, away('connection refused'));
    connected.add(request);
    if (state === 'frozen') {
      queue.push(() => time.at(time.nowMs() + random.between(0, 3), () => arrive(request, fault)));
      return;
    }
    if (fault === 'stalled in the server') {
      const [startedMs, began] = [time.nowMs(), life];
      const resume = (): void | Promise<void> => {
        if (began !== life) return;
        if (state === 'frozen') return void queue.push(() => time.at(time.nowMs(), resume));
        return execute(request, startedMs);
      };
      time.at(startedMs + random.between(10, 7_000), resume);
      return;
    }
    return execute(request, time.nowMs(), fault);
  }

  function send(request: Request): void {
    if (request.caller.network === 'cut') return;
    const held = options.held(request.caller, request.text);
    if (held) {
      void held.then(() => time.at(time.nowMs(), () => arrive(request, undefined)));
      return;
    }
    const fault = options.nextFault(request.caller);
    if (fault === 'lost before execution') return;
    if (fault === 'reset') {
      reply(request, away('connection reset'));
      return;
    }
    const delayMs = fault === 'delayed' ? random.between(50, 6_000) : latencyMs();
    const sentTo = life;
    time.at(time.nowMs() + delayMs, () =>
      sentTo === life ? arrive(request, fault) : reply(request, away('connection reset')),
    );
  }

  function end(): void {
    life++;
    state = 'down';
    queue = [];
    for (const request of connected) reply(request, away('terminating connection'));
    connected = new Set();
  }

  return {
    queryFor:
      (caller) =>
      (text, values = [], { deadlineMs = 3_000 } = {}) =>
        new Promise((resolve, reject) => {
          const cancelDeadline = caller.machine.timer(deadlineMs, () =>
            reject(away(`no answer within ${deadlineMs} ms`)),
          );
          const answer = (result: Record<string, unknown>[] | Error): void => {
            cancelDeadline();
            if (result instanceof Error) reject(result);
            else resolve(result as never);
          };
          send({ caller, text, values, answer });
        }),
    nowMs: () => clockOffsetMs + time.nowMs(),
    get timeline() {
      return timeline;
    },
    get isUp() {
      return state === 'up';
    },
    freeze() {
      if (state === 'up') state = 'frozen';
    },
    thaw() {
      if (state !== 'frozen') return;
      state = 'up';
      const waiting = queue;
      queue = [];
      for (const go of waiting) go();
    },
    stop: end,
    start() {
      if (state === 'down') state = 'up';
    },
    cutReplication: () => database.snapshot(),
    async promote(offsetMs) {
      end();
      await database.restoreSnapshot();
      timeline++;
      clockOffsetMs += offsetMs;
      state = 'up';
    },
  };
}

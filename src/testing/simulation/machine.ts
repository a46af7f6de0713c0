/**
 * A simulated machine: clocks that run a little fast or slow, timers, and the ways in which a process stops being
 * able to act: frozen (SIGSTOP, a long pause: both clocks go on), suspended (the monotonic clock stands still, the
 * wall clock goes on) and dead. What arrives in the meantime waits; what was due fires when it wakes.
 */
import type { Clock } from '../../support/clock.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface Machine {
  readonly clock: Clock;
  readonly isAwake: boolean;
  readonly isDead: boolean;
  /** Calls back after `ms` of this machine's monotonic time; returns how to cancel. */
  timer(ms: number, run: () => void): () => void;
  /** Hands something from outside to this machine: now, or when it wakes, or never. */
  deliver(run: () => void): void;
  freeze(): void;
  suspend(): void;
  wake(): void;
  die(): void;
  /** What happens on it is told of at once, before anything that waited for it. */
  watch(watcher: MachineWatcher): void;
  /** Somebody sets the wall clock. */
  setWallClock(byMs: number): void;
}

interface MachineWatcher {
  asleep?(): void;
  awake?(): void;
  died?(): void;
}

/** `rate` is how many of its seconds pass in one real second. */
export function simulatedMachine(
  time: VirtualTime,
  options: { rate: number; wallOffsetMs: number },
): Machine {
  let state: 'awake' | 'frozen' | 'suspended' | 'dead' = 'awake';
  let wallOffsetMs = options.wallOffsetMs;
  let suspendedMs = 0;
  let suspendedAtMs = 0;
  let waiting: (() => void)[] = [];
  const watchers: MachineWatcher[] = [];
  const tell = (what: keyof MachineWatcher): void => {
    for (const watcher of watchers) watcher[what]?.();
  };

  const monotonicMs = (): number => {
    const real = state === 'suspended' ? suspendedAtMs : time.nowMs();
    return (real - suspendedMs) * options.rate;
  };

  function timer(delayMs: number, run: () => void): () => void {
    const ms = Math.max(1, delayMs); // as real timers do; a smaller one might not move the time at all
    const dueMs = monotonicMs() + ms;
    let cancelled = false;
    const look = (): void => {
      if (cancelled || state === 'dead') return;
      if (state !== 'awake') waiting.push(look);
      else if (monotonicMs() >= dueMs - 1e-6) run();
      else time.at(time.nowMs() + (dueMs - monotonicMs()) / options.rate, look);
    };
    time.at(time.nowMs() + ms / options.rate, look);
    return () => {
      cancelled = true;
    };
  }

  let toDeliver = 0;
  function later(run: () => void): void {
    toDeliver++;
    time.at(time.nowMs(), () => {
      toDeliver--;
      if (state === 'awake') run();
      else if (state !== 'dead') waiting.push(run);
    });
  }

  return {
    clock: {
      monotonicMs,
      wallMs: () => time.nowMs() * options.rate + wallOffsetMs,
      sleep: (ms, signal) =>
        new Promise<void>((resolve) => {
          if (signal?.aborted) return resolve();
          const cancel = timer(ms, () => {
            signal?.removeEventListener('abort', aborted);
            resolve();
          });
          const aborted = (): void => {
            cancel();
            resolve();
          };
          signal?.addEventListener('abort', aborted, { once: true });
        }),
    },
    get isAwake() {
      return state === 'awake';
    },
    get isDead() {
      return state === 'dead';
    },
    timer,
    deliver(run) {
      // What waited for it to wake is delivered first, in the order in which it came.
      if (state === 'awake' && toDeliver === 0) run();
      else if (state === 'awake') later(run);
      else if (state !== 'dead') waiting.push(run);
    },
    watch: (watcher) => void watchers.push(watcher),
    freeze() {
      if (state !== 'awake') return;
      state = 'frozen';
      tell('asleep');
    },
    suspend() {
      if (state !== 'awake') return;
      state = 'suspended';
      suspendedAtMs = time.nowMs();
      tell('asleep');
    },
    wake() {
      if (state === 'dead' || state === 'awake') return;
      if (state === 'suspended') suspendedMs += time.nowMs() - suspendedAtMs;
      state = 'awake';
      const due = waiting;
      waiting = [];
      tell('awake');
      for (const run of due) later(run);
    },
    die() {
      if (state === 'dead') return;
      state = 'dead';
      waiting = [];
      tell('died');
    },
    setWallClock(byMs) {
      wallOffsetMs += byMs;
    },
  };
}

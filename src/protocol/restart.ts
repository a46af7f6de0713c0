/**
 * When to start a crashed instance again, and when to say that starting it again does not help.
 *
 * Most crashes are single: the first restart is immediate, so that one bad moment costs as little as possible.
 * A second crash soon after the first is evidence of a cause that is still there, so the pauses double, up to a
 * limit. A crash loop is a number of exits within a short time. It is told once and not at every turn, because
 * the same message every few seconds hides what else is being said; the restarts go on, for the cause may be
 * something that comes back by itself. Only a life in which the instance was healthy for a while wipes the slate.
 *
 * Stops that were asked for are no exits in this sense: the caller does not report them here.
 */
export interface RestartRules {
  /** The pause before the second restart; it doubles from there. The first restart is immediate. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** A life that was healthy for this long ends the streak. */
  readonly healthyResetMs: number;
  /** So many exits within so much time are a crash loop. */
  readonly loopExits: number;
  readonly loopWithinMs: number;
}

export const defaultRestartRules: RestartRules = {
  firstPauseMs: 500,
  longestPauseMs: 30_000,
  healthyResetMs: 30_000,
  loopExits: 5,
  loopWithinMs: 60_000,
};

/** What is remembered from one exit to the next. Immutable. */
export interface RestartHistory {
  /** Exits since the instance was last healthy for a while. */
  readonly streak: number;
  /** When the latest of them were, at most as many as a verdict needs. */
  readonly exitsAtMs: readonly number[];
  readonly loopTold: boolean;
}

export const noExits: RestartHistory = { streak: 0, exitsAtMs: [], loopTold: false };

export interface InstanceExit {
  readonly atMs: number;
  /** For how long the instance had been healthy without interruption when it ended; 0 if it never was. */
  readonly healthyForMs: number;
  /** In words: `exited with code 1`. */
  readonly description: string;
  /** The end of its output, oldest first. */
  readonly lastLines: readonly string[];
}

export interface CrashLoop {
  readonly exits: number;
  readonly withinMs: number;
  readonly description: string;
  readonly lastLines: readonly string[];
}

export interface RestartDecision {
  readonly history: RestartHistory;
  /** How long to wait before the next start. */
  readonly pauseMs: number;
  /** Set at the exit that makes it a loop, and not again before the instance recovered. */
  readonly crashLoop: CrashLoop | undefined;
}

export function decideRestart(
  history: RestartHistory,
  exit: InstanceExit,
  rules: RestartRules = defaultRestartRules,
): RestartDecision {
  const before = exit.healthyForMs >= rules.healthyResetMs ? noExits : history;
  const streak = before.streak + 1;
  const exitsAtMs = [...before.exitsAtMs, exit.atMs].slice(-rules.loopExits);
  const withinMs = exit.atMs - (exitsAtMs[0] ?? exit.atMs);
  const looping = exitsAtMs.length >= rules.loopExits && withinMs <= rules.loopWithinMs;
  const crashLoop =
    looping && !before.loopTold
      ? { exits: exitsAtMs.length, withinMs, description: exit.description, lastLines: exit.lastLines }
      : undefined;
  return {
    history: { streak, exitsAtMs, loopTold: before.loopTold || looping },
    pauseMs: pauseBefore(streak, rules),
    crashLoop,
  };
}

/** Is the instance in a loop that was told and has not ended? For a status display. */
export const isCrashLooping = (history: RestartHistory): boolean => history.loopTold;

/** One text for the log, with everything that helps to find the cause. */
export function describeCrashLoop(loop: CrashLoop): string {
  const seconds = Math.max(1, Math.round(loop.withinMs / 1000));
  const head = `the instance ended ${loop.exits} times within ${seconds} s; the last time it ${loop.description}`;
  if (loop.lastLines.length === 0) return `${head}. It printed nothing`;
  return [`${head}. Its last output:`, ...loop.lastLines.map((line) => `  ${line}`)].join('\n');
}

function pauseBefore(restart: number, rules: RestartRules): number {
  if (restart <= 1) return 0;
  // A power that overflows is Infinity, and the limit then holds.
  return Math.min(rules.longestPauseMs, rules.firstPauseMs * 2 ** (restart - 2));
}

/**
 * Keeps one instance running: starts it, watches its health, starts it again when it ends or no longer answers, and
 * stops it. It says what it sees as facts; the state follows from them (protocol/instance-state.ts), and nothing
 * here decides what others do about it.
 */
import type { CheckResult, OutputLine, RunningInstance } from '../platform/index.ts';
import { type HealthState, type HealthThresholds, observeHealth, unknownHealth } from '../protocol/health.ts';
import {
  decideRestart,
  describeCrashLoop,
  noExits,
  type RestartHistory,
  type RestartRules,
} from '../protocol/restart.ts';
import type { Clock } from '../support/clock.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';

export interface InstanceKeeperOptions {
  readonly instance: string;
  readonly start: (onOutput: (line: OutputLine) => void) => Promise<RunningInstance>;
  readonly check: (address: { host: string; port: number }) => Promise<CheckResult>;
  readonly health: HealthThresholds & {
    readonly everyMs: number;
    /** How long one look waits for its answer. */
    readonly timeoutMs: number;
    /** From the start to the first good answer; past it the instance is started again. */
    readonly startWithinMs: number;
    /** An instance that was healthy and has not answered for so long is killed and started again; Infinity: never. */
    readonly restartAfterMs: number;
  };
  /** False where somebody else runs the instance: then it is only watched. */
  readonly mayRestart: boolean;
  readonly restart: RestartRules;
  readonly killAfterMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Something in `facts()` changed. */
  readonly onChange: () => void;
}

export interface InstanceReport {
  readonly running: boolean;
  readonly health: 'unknown' | 'healthy' | 'unhealthy';
  readonly reason: string | null;
  readonly pid: number | null;
  readonly address: { readonly host: string; readonly port: number } | null;
}

const lastLinesKept = 20;
/** A pause longer than expected by this much is not the instance's silence. */
const standstillMs = 500;

export class InstanceKeeper {
  readonly #options: InstanceKeeperOptions;
  readonly #stop = new AbortController();
  #current: RunningInstance | undefined;
  #health: HealthState = unknownHealth;
  #reason: string | null = 'not started yet';
  #healthySinceMs: number | undefined;
  #history: RestartHistory = noExits;
  #lastLines: string[] = [];
  /** What somebody must do before a start can succeed. */
  #remedy: string | undefined;
  #askAgain: () => void = () => undefined;
  #isRestarting = false;

  constructor(options: InstanceKeeperOptions) {
    this.#options = options;
  }

  report(): InstanceReport {
    return {
      running: this.#current !== undefined,
      health: this.#health.verdict,
      reason: this.#health.verdict === 'healthy' ? null : this.#reason,
      pid: this.#current?.pid ?? null,
      address: this.#current?.address ?? null,
    };
  }

  /** Resolves when the present process has ended; at once when there is none. */
  async ended(): Promise<void> {
    await this.#current?.exited;
  }

  /** Ends the present process without ceremony; it is started again. */
  async kill(): Promise<void> {
    this.#askAgain();
    this.#current?.kill();
    await this.ended();
  }

  /** Whether the instance does, or would do, what only the leader does. */
  get leaderWork(): RunningInstance['leaderWork'] {
    return this.#current?.leaderWork;
  }

  /** Ends the present process in order; the next one is started at once, which is no crash. */
  async restart(): Promise<void> {
    this.#askAgain();
    this.#isRestarting = this.#current !== undefined;
    await this.#current?.stop({ killAfterMs: this.#options.killAfterMs });
  }

  /** Runs until `stop`; each turn is one life of the instance. */
  async run(): Promise<void> {
    const { clock, log, instance } = this.#options;
    while (!this.#stop.signal.aborted) {
      const exit = await this.#oneLife();
      if (this.#stop.signal.aborted) return;
      if (this.#isRestarting) {
        this.#isRestarting = false;
        continue;
      }
      if (this.#remedy !== undefined) {
        await this.#waitForPerson(exit, this.#remedy);
        continue;
      }
      const nowMs = clock.monotonicMs();
      const exited = {
        atMs: nowMs,
        healthyForMs: this.#healthySinceMs === undefined ? 0 : nowMs - this.#healthySinceMs,
        description: exit,
        lastLines: this.#lastLines,
      };
      const decision = decideRestart(this.#history, exited, this.#options.restart);
      this.#history = decision.history;
      this.#set(unknownHealth, exit);
      const when = decision.pauseMs === 0 ? 'at once' : `in ${(decision.pauseMs / 1000).toFixed(1)} s`;
      log.warn({ notice: true, instance, exit }, `${instance} ${exit}; starting it again ${when}`);
      if (decision.crashLoop) log.error({ notice: true, instance }, describeCrashLoop(decision.crashLoop));
      await clock.sleep(decision.pauseMs, this.#stop.signal);
    }
  }

  /** Ends the instance: SIGTERM to its group, SIGKILL after the limit. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#current?.stop({ killAfterMs: this.#options.killAfterMs });
  }

  /** The next start would end in the same way, so there is none until somebody asks for it. */
  async #waitForPerson(exit: string, remedy: string): Promise<void> {
    const { log, instance } = this.#options;
    this.#set(unknownHealth, `${exit} → ${remedy}`);
    log.error(
      { notice: true, instance, exit, remedy },
      `${instance} ${exit}. It is not started again before somebody acts: ${remedy} Then restart its agent.`,
    );
    const asked = new AbortController();
    this.#askAgain = () => asked.abort();
    const signal = AbortSignal.any([asked.signal, this.#stop.signal]);
    await new Promise<void>((done) => {
      if (signal.aborted) done();
      else signal.addEventListener('abort', () => done(), { once: true });
    });
  }

  /** Starts the instance, watches it until it ends, and says in words how that was. */
  async #oneLife(): Promise<string> {
    const { clock, log, instance } = this.#options;
    this.#healthySinceMs = undefined;
    this.#lastLines = [];
    this.#remedy = undefined;
    let life: RunningInstance;
    try {
      life = await this.#options.start((line) => this.#line(line));
    } catch (error) {
      const remedy = error instanceof HoldfastError && error.remedy ? ` → ${error.remedy}` : '';
      return `could not be started: ${(error as Error).message}${remedy}`;
    }
    if (this.#stop.signal.aborted) {
      await life.stop({ killAfterMs: this.#options.killAfterMs });
      return 'was stopped';
    }
    this.#current = life;
    this.#set(unknownHealth, 'starting');
    log.info({ instance, pid: life.pid, port: life.address.port }, `started ${instance}`);
    const ended = new AbortController();
    const watching = this.#watchHealth(life, clock.monotonicMs(), ended.signal);
    const exit = await life.exited;
    ended.abort();
    this.#current = undefined;
    this.#remedy = exit.remedy;
    this.#set({ verdict: 'unhealthy', streak: 0 }, exit.description);
    const why = await watching;
    return why ? `${why}; ${exit.description}` : exit.description;
  }

  /** Asks at intervals; after a doubtful answer at once again. Returns why the instance was killed, if it was. */
  async #watchHealth(
    life: RunningInstance,
    startedAtMs: number,
    ended: AbortSignal,
  ): Promise<string | undefined> {
    const { clock, health, log, instance } = this.#options;
    let hasAnswered = false;
    let silentForMs = 0;
    let lookedAtMs = startedAtMs;
    // What one look and the pause after it may take; more than that, and it was this agent that stood still.
    const lookMs = health.everyMs + health.timeoutMs + standstillMs;
    while (!ended.aborted) {
      const result = await (life.check?.(health.timeoutMs) ?? this.#options.check(life.address));
      if (ended.aborted) return undefined;
      const nowMs = clock.monotonicMs();
      hasAnswered ||= result.ok;
      const tookMs = nowMs - lookedAtMs;
      silentForMs =
        result.ok || result.restartHelps === false
          ? 0
          : silentForMs + (tookMs > lookMs ? health.timeoutMs : tookMs);
      lookedAtMs = nowMs;
      const before = this.#health.verdict;
      const starting = before === 'unknown' && !result.ok;
      const after = starting
        ? unknownHealth
        : observeHealth(this.#health, result.ok, firstAnswer(before, health));
      this.#set(after, result.ok ? null : result.reason);
      if (after.verdict === 'healthy' && before !== 'healthy') {
        this.#healthySinceMs = nowMs;
        const tookS = ((nowMs - startedAtMs) / 1000).toFixed(1);
        const how = before === 'unknown' ? `${tookS} s after its start` : 'again';
        log.info(
          { notice: true, instance, pid: life.pid },
          `${instance} is up ${how} (${life.pid === undefined ? 'external' : `process ${life.pid}`})`,
        );
      }
      if (after.verdict === 'unhealthy' && before !== 'unhealthy') {
        this.#healthySinceMs = undefined;
        log.warn({ notice: true, instance }, `${instance} is down: ${this.#reason}`);
      }
      const limitMs = hasAnswered ? health.restartAfterMs : health.startWithinMs;
      if (this.#options.mayRestart && silentForMs >= limitMs) {
        life.kill();
        return `gave no good answer for ${Math.round(silentForMs / 1000)} s and was killed`;
      }
      const urgent = before !== 'unknown' && after.verdict === before && result.ok !== (before === 'healthy');
      const pauseMs = urgent
        ? 0
        : before === 'unknown' && !result.ok
          ? Math.min(100, health.everyMs)
          : health.everyMs;
      await clock.sleep(pauseMs, ended);
    }
    return undefined;
  }

  #line(line: OutputLine): void {
    this.#lastLines.push(line.line);
    if (this.#lastLines.length > lastLinesKept) this.#lastLines.shift();
    const { log, instance } = this.#options;
    log.info({ instance, stream: line.stream, ...(line.fields ? { fields: line.fields } : {}) }, line.line);
  }

  #set(health: HealthState, reason: string | null): void {
    const changed = health.verdict !== this.#health.verdict || reason !== this.#reason;
    this.#health = health;
    this.#reason = reason;
    if (changed) this.#options.onChange();
  }
}

/** The first good answer of a new process suffices: it was never sick. */
const firstAnswer = (verdict: string, thresholds: HealthThresholds): HealthThresholds =>
  verdict === 'unknown' ? { ...thresholds, healthyAfter: 1 } : thresholds;

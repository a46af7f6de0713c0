/**
 * One life of a Mendix runtime. "The process lives" and "the admin port answers 200" are true of a runtime that serves
 * nobody, so its health is asked for in the runtime's own words and translated: it must be running, its health
 * microflow must not call it sick, and it must answer where users come.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../support/errors.ts';
import type { Log } from '../../support/log.ts';
import { type CheckResult, checkHealth } from '../health-check.ts';
import type { HeldGroup } from '../held-group.ts';
import { readLines } from '../output-lines.ts';
import type { Address, Duties, ExitReason, RunningInstance, StartSpec, Tenure } from '../platform.ts';
import type { Feedback } from './admin-actions.ts';
import type { AdminClient } from './admin-client.ts';
import { AdminRefusal } from './admin-refusal.ts';
import { explainedExit } from './exit-meaning.ts';
import type { LogReceiver } from './log-receiver.ts';
import { runsEvents } from './runtime-settings.ts';
import { bringUp, type StartPlan, type StartSituation } from './start-sequence.ts';

export interface MendixInstanceOptions {
  readonly group: HeldGroup;
  readonly spec: StartSpec;
  /** Where users' requests reach it from here. */
  readonly address: Address;
  readonly client: AdminClient;
  readonly adminPort: number;
  readonly plan: StartPlan;
  readonly receiver: LogReceiver | undefined;
  readonly sick: 'eject' | 'warn';
  /** Nothing of it is left. */
  onEnd(): Promise<void>;
  readonly log: Log;
}

/** Of the time until a runtime is killed, so much is for its own shutdown; the rest is for SIGTERM. */
const shutdownShare = 0.75;
/** A limit cannot be taken away, only moved. */
const unlimitedMs = 10 * 365 * 86_400_000;

const overWords: Readonly<Record<keyof Duties, string>> = {
  leader: 'it may not be the leader any more',
  database: 'another instance may change the database now',
};

export class MendixInstance implements RunningInstance {
  readonly pid: number;
  readonly address: Address;
  readonly exited: Promise<ExitReason>;
  readonly #options: MendixInstanceOptions;
  readonly #ended = new AbortController();
  #phase = { words: 'starting', isBusy: false };
  #isUp = false;
  readonly #tenures = new Map<keyof Duties, Tenure>();
  #runsEvents = false;
  #isLimited = false;
  #isToldUnknown = false;
  /** Why it was ended from here, in place of an exit code that would only say that it was. */
  #failure: { readonly description: string; readonly remedy?: string } | undefined;
  /** A question to the health microflow that is still open: there is never a second one. */
  #asking: Promise<Feedback<'check_health'>> | undefined;
  #sickness: string | undefined;

  constructor(options: MendixInstanceOptions) {
    const { group, address } = options;
    this.#options = options;
    this.pid = group.pid;
    this.address = address;
    this.exited = this.#watch();
  }

  get leaderWork(): 'does' | 'would' | undefined {
    const asLeader = { isLeader: true, changesDatabase: false };
    if (!this.#isUp || !runsEvents(this.#options.plan.settings(asLeader))) return undefined;
    return this.#tenures.has('leader') ? 'does' : 'would';
  }

  /** Configures and starts the application; what goes wrong ends the process and is the reason of its exit. */
  bringUp(): void {
    const { plan, client, spec, log } = this.#options;
    const remembering: StartPlan = {
      ...plan,
      settings: (part) => {
        const settings = plan.settings(part);
        this.#runsEvents = runsEvents(settings);
        this.#limitLife();
        return settings;
      },
    };
    const situation: StartSituation = {
      client,
      duties: spec.duties,
      log,
      ended: this.#ended.signal,
      phase: (words, isBusy = false) => {
        this.#phase = { words, isBusy };
      },
      holds: (duty, tenure) => this.#hold(duty, tenure),
    };
    bringUp(remembering, situation).then(
      () => {
        this.#isUp = true;
      },
      (error: unknown) => this.#failed(error),
    );
  }

  /** First by its own shutdown, then SIGTERM, then SIGKILL at the limit. */
  stop({ killAfterMs }: { killAfterMs: number }): Promise<ExitReason> {
    const { group, client } = this.#options;
    const isFirst = !this.#ended.signal.aborted;
    this.#ended.abort();
    const shutdownMs = killAfterMs * shutdownShare;
    if (!isFirst || shutdownMs < 1) {
      group.stop(killAfterMs);
      return this.exited;
    }
    void client.shutdown(shutdownMs);
    const patience = sleep(shutdownMs, undefined, { ref: false });
    void Promise.race([patience, group.ended]).then(() => group.stop(killAfterMs - shutdownMs));
    return this.exited;
  }

  kill(): void {
    this.#options.group.kill();
  }

  async check(timeoutMs: number): Promise<CheckResult> {
    const startMs = performance.now();
    const leftMs = (): number => Math.max(1, Math.round(timeoutMs - (performance.now() - startMs)));
    const { words, isBusy } = this.#phase;
    if (this.#failure) return { ok: false, reason: this.#failure.description };
    if (!this.#isUp) return { ok: false, reason: words, ...(isBusy ? { restartHelps: false } : {}) };
    const { client } = this.#options;
    try {
      const { status } = await client.call('runtime_status', undefined, { timeoutMs: leftMs() });
      if (status !== 'running') return { ok: false, reason: `the runtime is ${status}` };
      const sickness = await this.#askHealth(leftMs());
      if (sickness !== undefined) return { ok: false, reason: sickness, restartHelps: false };
    } catch (error) {
      return { ok: false, reason: (error as Error).message };
    }
    // 401 is the answer to somebody who is not logged in: the application is there.
    const answer = await checkHealth({
      ...this.address,
      path: '/xas/',
      timeoutMs: leftMs(),
      status: [200, 499],
    });
    return answer.ok ? { ok: true, latencyMs: performance.now() - startMs } : answer;
  }

  /**
   * What the application says is wrong with it. `unknown` is healthy as far as anybody can know: the model has no health
   * microflow. One that does not come to an end is not asked again meanwhile, so that they do not pile up.
   */
  async #askHealth(timeoutMs: number): Promise<string | undefined> {
    const { client, sick, log } = this.#options;
    const asking = this.#asking ?? client.call('check_health');
    this.#asking = asking;
    const done = (): void => {
      this.#asking = undefined;
    };
    asking.then(done, done);
    const limit = new AbortController();
    const late = sleep(timeoutMs, 'late' as const, { signal: limit.signal }).catch(() => 'late' as const);
    const answer = await Promise.race([asking, late]);
    limit.abort();
    if (answer === 'late') throw new Error(`the health microflow has not ended within ${timeoutMs} ms`);
    if (answer.health === 'unknown' && !this.#isToldUnknown) {
      this.#isToldUnknown = true;
      log.info(
        {},
        'the model has no health microflow, so an application that is sick cannot be told from one that is well',
      );
    }
    const diagnosis =
      answer.health === 'sick' ? `the application is sick: ${answer.diagnosis || 'no diagnosis'}` : undefined;
    if (diagnosis !== this.#sickness && sick === 'warn')
      log.warn(
        { notice: true },
        diagnosis === undefined ? 'the application is well again' : `${diagnosis}; it stays in service`,
      );
    this.#sickness = diagnosis;
    return sick === 'warn' ? undefined : diagnosis;
  }

  /** Without which it must not go on for a moment. A leader that runs no events can: it serves users like the others. */
  get #needed(): Tenure[] {
    const isNeeded = (duty: keyof Duties): boolean => duty === 'database' || this.#runsEvents;
    return [...this.#tenures].filter(([duty]) => isNeeded(duty)).map(([, tenure]) => tenure);
  }

  #hold(duty: keyof Duties, tenure: Tenure | undefined): void {
    if (tenure === undefined) {
      this.#tenures.delete(duty);
      this.#limitLife();
      return;
    }
    this.#tenures.set(duty, tenure);
    const over = (): void => {
      if (this.#needed.includes(tenure)) this.#end(`was ended, as ${overWords[duty]}`);
    };
    tenure.over.addEventListener('abort', over, { once: true });
    if (tenure.over.aborted) over();
    tenure.onProof(() => this.#limitLife());
    this.#limitLife();
  }

  /**
   * What works alone lives no longer than its tenure is proved, even if the agent is frozen and proves nothing: the
   * handle that holds its process group ends it then (P1, P4).
   */
  #limitLife(): void {
    const { group } = this.#options;
    const leftMs = Math.min(...this.#needed.map((tenure) => tenure.remainingMs()));
    const isLimited = leftMs !== Number.POSITIVE_INFINITY;
    if (isLimited || this.#isLimited) group.allowFor(isLimited ? leftMs : unlimitedMs);
    this.#isLimited = isLimited;
  }

  #failed(error: unknown): void {
    if (this.#ended.signal.aborted) return; // it was stopped, or ended by itself: that is the reason
    const { message } = error as Error;
    const remedy = error instanceof HoldfastError ? error.remedy : undefined;
    const isLasting = error instanceof AdminRefusal && error.isLasting;
    this.#end(`could not be started: ${message}`, isLasting ? remedy : undefined);
    this.#options.log.error({ notice: true }, `${message}${remedy === undefined ? '' : ` → ${remedy}`}`);
  }

  #end(why: string, remedy?: string): void {
    this.#failure ??= { description: why, ...(remedy === undefined ? {} : { remedy }) };
    this.#ended.abort();
    this.kill();
  }

  async #watch(): Promise<ExitReason> {
    const { group, spec, plan, adminPort, receiver, onEnd, log } = this.#options;
    const readers = [
      readLines('stdout', group.stdout, spec.onOutput),
      readLines('stderr', group.stderr, spec.onOutput),
    ];
    const { exit, limitPassed } = await group.ended;
    const wasStopped = this.#ended.signal.aborted;
    this.#ended.abort();
    await Promise.all([...readers.map((reader) => reader.finish()), receiver?.close()]);
    const isKept = this.#isUp && this.#failure === undefined;
    const releases = [...this.#tenures.keys()].map((duty) =>
      spec.duties?.[duty].release({ isKept: isKept && duty === 'leader' }),
    );
    await Promise.all([onEnd(), ...releases]).catch((error: Error) =>
      log.warn({ error: error.message }, 'not everything could be tidied up after the runtime'),
    );
    if (this.#failure) return { ...exit, ...this.#failure };
    if (limitPassed)
      return {
        ...exit,
        description: 'was killed, as its agent could not prove in time that its work is not another one’s',
      };
    const ports = { adminPort, runtimePort: this.address.port };
    return wasStopped ? exit : explainedExit(exit, ports, plan.version.text);
  }
}

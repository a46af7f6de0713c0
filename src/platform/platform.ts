import type { CheckResult } from './health-check.ts';

/**
 * What is behind an agent, seen from the agent: something that can be started at an address, that ends sometime
 * with a reason, and that can be stopped. The `process` platform is a command, `external` a URL that somebody
 * else runs. What is particular to a platform is given when the platform is made; what every start needs is in
 * the StartSpec.
 */
export interface Platform {
  /** Rejects with a HoldfastError when there is nothing to run. An application that starts and fails is an exit. */
  start(spec: StartSpec): Promise<RunningInstance>;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface StartSpec {
  /** Where the instance shall listen, as its agent will reach it. */
  readonly address: Address;
  /** What the agent adds to the instance's environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Every line that the instance prints, in the order of each stream. Must not throw. */
  onOutput(line: OutputLine): void;
  /**
   * Called when the process exists and has not yet run anything of the application; the application begins when
   * this resolves and never if it rejects. It is the moment to write down on disk which process it is: there is
   * then no instance that nobody has a record of. Not called by platforms without a process.
   */
  beforeRun?(pid: number): Promise<void>;
  /** For platforms in which there is work that only one instance may do. */
  readonly duties?: Duties;
}

/** What one instance of the cluster at a time may do. */
export interface Duties {
  /** Being the leader, for as long as it runs. */
  readonly leader: Duty;
  /** Changing the application's database, for as long as that takes. */
  readonly database: Duty;
}

export interface Duty {
  /** Asks for it. Undefined: another one has it, or nobody knows. */
  claim(): Promise<Tenure | undefined>;
  /** The work has ended. `isKept`: the instance is started again at once, and is to have the duty again. */
  release(options: { readonly isKept: boolean }): Promise<void>;
}

/** The work must have ended when this has. */
export interface Tenure {
  /** Aborted when it may be over. An agent that is frozen aborts nothing: see `remainingMs`. */
  readonly over: AbortSignal;
  /** For how long it is proved from now. */
  remainingMs(): number;
  /** Called whenever it is proved anew, with the time that is left. */
  onProof(listener: (remainingMs: number) => void): void;
}

export interface OutputLine {
  readonly stream: 'stdout' | 'stderr';
  readonly line: string;
  /** Set where the line is one JSON object. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface RunningInstance {
  readonly pid: number | undefined;
  readonly address: Address;
  /**
   * Resolves when nothing of the instance is left, whatever ended it, and after its last line of output. Never
   * rejects. This is the death that was seen: what the instance worked on is free at once.
   */
  readonly exited: Promise<ExitReason>;
  /** Asks it to end, kills it after the limit, and resolves as `exited` does. May be called again to hurry. */
  stop(options: { killAfterMs: number }): Promise<ExitReason>;
  /** Kills at once, without a word and without waiting. */
  kill(): void;
  /** One look at its health, where the platform has a better one than a request to the configured path. */
  check?(timeoutMs: number): Promise<CheckResult>;
  /**
   * Work that only the leader does: this instance does it, or would if it were started again as the leader. Left out:
   * there is none, or the instance does not serve yet.
   */
  readonly leaderWork?: 'does' | 'would' | undefined;
}

export interface ExitReason {
  readonly code: number | null;
  readonly signal: string | null;
  /** Completes a sentence that begins with `the instance`: `exited with code 1`. */
  readonly description: string;
  /** Set where the next start would end in the same way: what somebody must do first. */
  readonly remedy?: string;
}

/**
 * A run as a command on the instance's host, in a process group of its own. It may live only as long as the lease
 * is proved: every renewal allows it a little longer, and without one it is killed even if this agent is frozen.
 */
import { type CommandRun, startCommand } from '../../platform/index.ts';
import type { Log } from '../../support/log.ts';
import type { AppointmentChange } from '../appointments.ts';
import type { Executor, WorkResult } from './execution.ts';
import { environmentOf } from './order-facts.ts';

export interface CommandExecutorOptions {
  readonly command: string;
  readonly directory: string;
  /** What the instance's own process has. */
  readonly environment: () => Record<string, string>;
  /** Writes down the process group before the command runs in it, so that a successor can prove it dead. */
  readonly recordGroup: (pid: number) => Promise<void>;
  readonly forgetGroup: (pid: number) => void;
  /** From the end of the proof to the moment at which nothing may be left. */
  readonly stopWorkMs: number;
  readonly appointment?: AppointmentChange;
  readonly log: Log;
}

const resultLimitBytes = 4_096;

export function commandExecutor(options: CommandExecutorOptions): Executor {
  return (order, proof) => {
    let command: CommandRun | undefined;
    let aborted: string | undefined;
    const stop = (): void => command?.stop({ because: aborted ?? '', graceMs: options.stopWorkMs / 2 });

    async function run(): Promise<WorkResult> {
      const started = await startCommand({
        command: options.command,
        directory: options.directory,
        environment: { ...options.environment(), ...environmentOf(order, options.appointment) },
        outputLimitBytes: resultLimitBytes,
        allowForMs: proof.remainingMs(),
        beforeRun: async (pid) => {
          await options.recordGroup(pid);
          if (aborted !== undefined) throw new Error(aborted);
        },
        log: options.log,
      });
      command = started;
      // The start took a while: the lease may have been renewed meanwhile, or the run aborted.
      started.allowFor(proof.remainingMs());
      if (aborted !== undefined) stop();
      const { exit, output, killedBecause } = await started.finished;
      options.forgetGroup(started.pid);
      const result = output === '' ? null : output;
      const reason = killedBecause ?? (exit.code === 0 ? null : `the command ${exit.description}`);
      return { outcome: reason === null ? 'succeeded' : 'failed', reason, result };
    }

    return {
      finished: run().catch((error: Error) => ({
        outcome: 'failed',
        reason: aborted ?? `the command could not be started: ${error.message}`,
        result: null,
      })),
      abort(why) {
        aborted ??= why;
        stop();
      },
      renewed: (remainingMs) => command?.allowFor(remainingMs),
    };
  };
}

/**
 * A run as a command on the instance's host, in a process group of its own. It may live only as long as the lease
 * is proved: every renewal allows it a little longer, and without one it is killed even if this agent is frozen. An
 * agent that is not frozen asks it to end first, so what kills comes half of the time for stopping later.
 */
import { type CommandResult, type CommandRun, startCommand } from '../../platform/index.ts';
import type { Log } from '../../support/log.ts';
import type { AppointmentChange } from '../appointments.ts';
import { excerptLimitBytes, excerptOf } from './excerpt.ts';
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

/** Time for a command to end by itself. Half of what there is: killing takes time too. */
const graceMs = (stopWorkMs: number): number => Math.min(stopWorkMs / 2, 500);

export function commandExecutor(options: CommandExecutorOptions): Executor {
  return (order, proof) => {
    const token = String(order.token);
    let recorded: number | undefined;
    let command: CommandRun | undefined;
    let aborted: string | undefined;
    const allowedMs = (remainingMs: number): number => remainingMs + options.stopWorkMs / 2;
    const stop = (because: string): void => command?.stop({ because, graceMs: graceMs(options.stopWorkMs) });

    async function run(): Promise<WorkResult> {
      const started = await startCommand({
        command: options.command,
        directory: options.directory,
        environment: { ...options.environment(), ...environmentOf(order, options.appointment) },
        outputLimitBytes: excerptLimitBytes,
        allowForMs: allowedMs(proof.remainingMs()),
        beforeRun: async (pid) => {
          recorded = pid;
          await options.recordGroup(pid);
          if (aborted !== undefined) throw new Error(aborted);
        },
        onOutput: ({ line, fields }) =>
          options.log.info({ event: order.event, token, ...(fields ? { fields } : {}) }, line),
        log: options.log,
      });
      command = started;
      // The start took a while: the lease may have been renewed meanwhile, or the run aborted.
      started.allowFor(allowedMs(proof.remainingMs()));
      if (aborted !== undefined) stop(aborted);
      return judge(await started.finished, aborted);
    }

    return {
      finished: run()
        .catch((error: Error): WorkResult => {
          const reason = aborted ?? excerptOf(`the command could not be started: ${error.message}`);
          return { outcome: 'failed', reason, result: null };
        })
        .finally(() => {
          if (recorded !== undefined) options.forgetGroup(recorded);
        }),
      abort(why) {
        aborted ??= why;
        stop(aborted);
      },
      renewed: (remainingMs) => command?.allowFor(allowedMs(remainingMs)),
    };
  };
}

function judge({ exit, output, killedBecause }: CommandResult, aborted: string | undefined): WorkResult {
  const result = output === '' ? null : output;
  // Nobody here asked for it: the lease was not proved in time, which is no failure of the command.
  if (killedBecause !== undefined && aborted === undefined)
    return { outcome: 'lost', reason: killedBecause, result };
  const reason = killedBecause ?? (exit.code === 0 ? null : `the command ${exit.description}`);
  return { outcome: reason === null ? 'succeeded' : 'failed', reason, result };
}

/**
 * A command that somebody configured to be run once, to the end, within a limit: a fence, an alarm. What it needs
 * to know is in its environment; nothing is ever put into its text, which is the shell's to interpret, or into its
 * arguments, which every user of the machine can read.
 */
import { formatDuration } from '../support/duration.ts';
import type { Log } from '../support/log.ts';
import { startCommand } from './command.ts';

export interface HookOptions {
  /** For `/bin/sh -c`. Never logged: it may hold what is not for everybody. */
  readonly command: string;
  readonly directory: string;
  /** Added to the agent's own, of which everything that begins with HOLDFAST_ is left out. */
  readonly environment: Readonly<Record<string, string>>;
  readonly limitMs: number;
  readonly log: Log;
}

export type HookEnd =
  | { readonly succeeded: true }
  /** Goes on from "the command", as in "exited with code 1: no route to host". */
  | { readonly succeeded: false; readonly why: string };

const outputLimitBytes = 1_024;
/** A process that the kernel keeps in the middle of something (a dead network disk) dies later: that is not waited for. */
const unkillableMs = 5_000;

/** Never rejects. Settles once nothing of its process group is left that can be killed. */
export async function runHook({ limitMs, ...options }: HookOptions): Promise<HookEnd> {
  const late = `did not end within ${formatDuration(limitMs)} and was killed`;
  const timers: NodeJS.Timeout[] = [];
  try {
    const allowForMs = limitMs + unkillableMs;
    const run = await startCommand({ ...options, outputLimitBytes, allowForMs });
    timers.push(setTimeout(() => run.stop({ because: late, graceMs: 0 }), limitMs));
    const unkillable = new Promise<undefined>((resolve) => {
      timers.push(setTimeout(() => resolve(undefined), allowForMs));
    });
    const end = await Promise.race([run.finished, unkillable]);
    if (end === undefined || end.killedBecause !== undefined) return { succeeded: false, why: late };
    if (end.exit.code === 0) return { succeeded: true };
    const words = end.output.replace(/[\p{Cc}\s]+/gu, ' ').trim();
    return {
      succeeded: false,
      why: words === '' ? end.exit.description : `${end.exit.description}: ${words}`,
    };
  } catch (error) {
    return {
      succeeded: false,
      why: `could not be run: ${error instanceof Error ? error.message : String(error)}`,
    };
  } finally {
    timers.forEach(clearTimeout);
  }
}

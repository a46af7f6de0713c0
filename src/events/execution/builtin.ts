/** A run as a task of the agent itself. */
import type { Executor } from './execution.ts';

/** `task` says in words what it did, or null; it ends soon after its signal is aborted. */
export function builtinExecutor(task: (signal: AbortSignal) => Promise<string | null>): Executor {
  return () => {
    const end = new AbortController();
    let aborted: string | undefined;
    return {
      finished: task(end.signal).then(
        (result) => ({ outcome: 'succeeded', reason: null, result }),
        (error: Error) => ({ outcome: 'failed', reason: aborted ?? error.message, result: null }),
      ),
      abort(why) {
        aborted ??= why;
        end.abort();
      },
    };
  };
}

/** A run as a task of the agent itself. */
import { excerptOf } from './excerpt.ts';
import type { Executor, RunOrder, WorkResult } from './execution.ts';

/** `task` says in words what it did, or null; it ends soon after its signal is aborted. */
export function builtinExecutor(
  task: (signal: AbortSignal, order: RunOrder) => Promise<string | null>,
): Executor {
  return (order) => {
    const end = new AbortController();
    let aborted: string | undefined;

    async function run(): Promise<WorkResult> {
      try {
        const result = excerptOf((await task(end.signal, order)) ?? '');
        // One that was aborted may have stopped half-way without a word.
        if (aborted !== undefined) return { outcome: 'failed', reason: aborted, result };
        return { outcome: 'succeeded', reason: null, result };
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return { outcome: 'failed', reason: aborted ?? excerptOf(message), result: null };
      }
    }

    return {
      finished: run(),
      abort(why) {
        aborted ??= why;
        end.abort();
      },
    };
  };
}

/**
 * Exactly once in the database: the application's effects and the run's outcome are committed together, or not at
 * all. The ledger refuses a token that counts no more, so that of two executors who believe in the same run only one
 * can commit, however long the other one was frozen.
 *
 * The run's outcome and the commit are sent in one message: between them the ledger's lock is held, and a process
 * that froze right there would hold up everybody else. What is sent in one message the server carries out alone.
 */
import type { Arbiter } from '../../database/arbiter.ts';
import { sqlState } from '../../database/primary.ts';
import { HoldfastError } from '../../support/errors.ts';
import { StaleRunError } from './run-errors.ts';
import { resultText } from './run-result.ts';

export interface TransactionClient {
  query<Row = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: Row[] }>;
}

export interface RunToCommit {
  readonly token: bigint;
  readonly signal: AbortSignal;
  /** Until the run's time-out. */
  remainingMs(): number;
}

/** How long the answer to a commit is waited for, once the run has been aborted meanwhile. */
const settleWithinMs = 3_000;
const longestTimeoutMs = 2_147_483_647;

type Query = Parameters<Parameters<Arbiter['transaction']>[0]>[0];

/** What `work` returned, once it is committed. Rejects with StaleRunError, the signal's reason or the work's error. */
export async function commitWithRun<T>(
  arbiter: Arbiter,
  run: RunToCommit,
  work: (client: TransactionClient) => Promise<T>,
): Promise<T> {
  const { token, signal } = run;
  signal.throwIfAborted();
  await arbiter.query('select holdfast.run_check($1, false)', [String(token)]).catch((error: unknown) => {
    throw staleOr(token, error);
  });

  const progress = {
    commitSent: false,
    committed: false,
    failure: undefined as { error: unknown } | undefined,
  };
  let value: T | undefined;
  const aborted = abortion(signal);
  const limitMs = Math.min(longestTimeoutMs, Math.max(1, Math.ceil(run.remainingMs())));

  const operation = arbiter.transaction(
    async (query) => {
      const open = openClient(query);
      try {
        signal.throwIfAborted();
        await query(
          `set local idle_in_transaction_session_timeout = ${limitMs}; set local statement_timeout = ${limitMs}`,
        );
        value = await Promise.race([work(open.client), aborted.rejection]);
        signal.throwIfAborted();
        open.close();
        progress.commitSent = true;
        await query(commitMessage(token, resultText(value)));
        progress.committed = true;
      } catch (error) {
        open.close();
        progress.failure = { error };
        throw signal.aborted ? dropped() : rolledBack(error);
      }
    },
    { deadlineMs: limitMs },
  );

  try {
    await Promise.race([operation, aborted.afterwards(() => (progress.commitSent ? settleWithinMs : 0))]);
  } catch (error) {
    if (!progress.committed) await settle(arbiter, token, progress, progress.failure?.error ?? error);
  } finally {
    aborted.forget();
    operation.catch(() => undefined); // reported already, by whichever came first
  }
  return value as T;
}

/** Returns when the work was committed after all; otherwise throws what is to be reported. */
async function settle(
  arbiter: Arbiter,
  token: bigint,
  { commitSent }: { readonly commitSent: boolean },
  error: unknown,
): Promise<void> {
  if (!commitSent || sqlState(error) !== undefined) throw staleOr(token, error);
  // The answer to the commit was lost. Nobody else can have ended this run as succeeded.
  const [row] = await arbiter
    .query<{ outcome: string | null }>('select outcome from holdfast.run where token = $1', [String(token)])
    .catch(() => []);
  if (row?.outcome === 'succeeded') return;
  throw new HoldfastError(
    'ARBITER_UNAVAILABLE',
    `The database gave no answer to the commit of run ${token}: the ledger will show whether it was committed.`,
    { cause: error, remedy: 'Let the error through: an attempt that was committed is not repeated.' },
  );
}

/**
 * Ended with the empty transaction that `Arbiter.transaction` goes on to commit; it holds nothing.
 * The numbers are numbers and the text is quoted: parameters are not possible in a message of several statements.
 */
function commitMessage(token: bigint, result: string | undefined): string {
  const text = result === undefined ? 'null' : quoted(result);
  return `select holdfast.run_commit(${token}, ${text}); commit; begin`;
}

/** A literal that means the same whatever standard_conforming_strings says. */
function quoted(text: string): string {
  const doubled = text.replaceAll("'", "''");
  return doubled.includes('\\') ? `E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`;
}

const endsTransaction =
  /^\s*(begin|start\s+transaction|commit|end|abort|prepare\s+transaction|rollback(?!\s+(work\s+|transaction\s+)?to\b))\b/i;

/** The client for as long as the work goes on: afterwards the connection serves others. */
function openClient(query: Query): { client: TransactionClient; close(): void } {
  let open = true;
  const client: TransactionClient = {
    async query<Row>(text: string, values?: readonly unknown[]) {
      if (!open) throw misuse('This transaction is over: its client cannot be used any more.');
      if (endsTransaction.test(text)) {
        throw misuse(
          `run.transaction begins and ends the transaction; "${text.trim().slice(0, 40)}" cannot be sent in it.`,
          'Return from the function to commit, throw to roll back; savepoints are fine.',
        );
      }
      return { rows: await query<Row>(text, values) };
    },
  };
  return {
    client,
    close() {
      open = false;
    },
  };
}

function abortion(signal: AbortSignal) {
  const { promise: rejection, reject } = Promise.withResolvers<never>();
  rejection.catch(() => undefined); // nobody may be waiting
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  let timer: NodeJS.Timeout | undefined;
  return {
    rejection,
    /** Rejects that much later than the abortion. */
    afterwards: (delayMs: () => number): Promise<never> =>
      rejection.catch(
        (reason: unknown) =>
          new Promise<never>((_, later) => {
            timer = setTimeout(() => later(reason), delayMs());
          }),
      ),
    forget() {
      signal.removeEventListener('abort', onAbort);
      clearTimeout(timer);
    },
  };
}

function staleOr(token: bigint, error: unknown): unknown {
  if (sqlState(error) !== 'HF001') return error;
  const why = (error as Error).message.replace(/^run \d+ is fenced: /, '');
  return new StaleRunError(token, why, { cause: error });
}

/** For `Arbiter.transaction`: the connection is as good as before, unless the server or the network said otherwise. */
const rolledBack = (error: unknown): unknown =>
  sqlState(error) !== undefined || isConnectionError(error) ? error : new Error('rolled back');

const isConnectionError = (error: unknown): boolean =>
  error instanceof Error && /connection (terminated|ended|error|timeout)|not queryable/i.test(error.message);

/** For `Arbiter.transaction`: a statement may still be under way, so the connection goes, and its transaction with it. */
const dropped = (): HoldfastError => new HoldfastError('ARBITER_UNAVAILABLE', 'The run was aborted.');

const misuse = (message: string, remedy?: string): HoldfastError =>
  new HoldfastError('USAGE', message, remedy === undefined ? {} : { remedy });

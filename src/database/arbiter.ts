/**
 * The connection to the arbiter: a pool on whichever host is the writable primary, and on the next one after a
 * failover.
 *
 * Every query has a deadline, and a deadline that passes destroys the socket: a half-open TCP connection would
 * otherwise wait for ever, and a connection in an unknown state must not go back into the pool. Any failure that
 * is not an answer (connection lost, read-only, shutting down) discards the whole pool, so that the next query
 * looks for the primary again. Nothing is retried here: whether an operation whose reply was lost may be repeated
 * is known only to its caller.
 */
import pg from 'pg';
import { HoldfastError } from '../support/errors.ts';
import { type Listener, type ListenHandlers, startListener } from './listener.ts';
import {
  clientOptions,
  describe,
  destroySocket,
  findPrimary,
  sqlState,
  type TimelineWatch,
  unavailable,
  whyNotPrimary,
} from './primary.ts';
import { parseDatabaseUrl } from './url.ts';

interface QueryOptions {
  /** The whole operation, including the wait for a connection. */
  readonly deadlineMs?: number;
}

export type Query = <Row = Record<string, unknown>>(
  text: string,
  values?: readonly unknown[],
  options?: QueryOptions,
) => Promise<Row[]>;

export interface Arbiter {
  /** One statement. Rejects with ARBITER_UNAVAILABLE or ARBITER_REFUSED, or with the server's own error. */
  query: Query;
  /** A connection of its own for notifications; proves itself alive with one statement each second, or as asked. */
  listen(channels: readonly string[], handlers: ListenHandlers, options?: { probeMs?: number }): Listener;
  /** All or nothing, on one connection. The deadline is for the whole of it. */
  transaction<T>(work: (query: Query) => Promise<T>, options?: QueryOptions): Promise<T>;
  close(): Promise<void>;
}

export interface ArbiterOptions {
  readonly url: string;
  /** Connections at most. */
  readonly max?: number;
  readonly applicationName?: string;
  readonly connectTimeoutMs?: number;
  readonly queryDeadlineMs?: number;
  readonly idleMs?: number;
}

/** Opens nothing yet: the first query connects. Throws DATABASE_URL_INVALID. */
export function openArbiter(options: ArbiterOptions): Arbiter {
  const address = parseDatabaseUrl(options.url, process.env);
  const name = options.applicationName ?? 'holdfast';
  const connectTimeoutMs = options.connectTimeoutMs ?? 2_000;
  const defaultDeadlineMs = options.queryDeadlineMs ?? 3_000;
  const watch: TimelineWatch = { newest: 0 };
  const max = options.max ?? 4;
  let pool: Promise<pg.Pool> | undefined;
  let closed = false;
  /** Operations under way, and those that wait for one of them to end: a busy pool is no reason to discard it. */
  let busy = 0;
  const waiting: (() => void)[] = [];

  async function turn(): Promise<void> {
    if (busy < max) busy++;
    else await new Promise<void>((resolve) => waiting.push(resolve));
  }

  function endTurn(): void {
    const next = waiting.shift();
    if (next) next();
    else busy--;
  }

  function currentPool(): Promise<pg.Pool> {
    if (closed) return Promise.reject(unavailable('this connection was closed', []));
    pool ??= findPrimary(address, watch, connectTimeoutMs, name).then((host) => {
      const created = new pg.Pool({
        ...clientOptions(address, host, connectTimeoutMs, name),
        max,
        idleTimeoutMillis: options.idleMs ?? 30_000,
        verify: (client, done) => {
          whyNotPrimary(client, watch).then(
            (why) => done(why ? new Error(`${host.host}:${host.port} ${why}`) : undefined),
            (error) => done(error),
          );
        },
      });
      created.on('error', () => discard(created)); // an idle connection was lost
      created.on('connect', (client) => client.on('error', ignoreRejected)); // a busy one: its query rejects
      return created;
    });
    const attempt = pool;
    attempt.catch(() => {
      if (pool === attempt) pool = undefined;
    });
    return attempt;
  }

  function discard(broken: pg.Pool): void {
    void pool?.then((current) => {
      if (current === broken) pool = undefined;
    }, ignoreRejected);
    void broken.end().catch(ignoreRejected);
  }

  /** Runs `work` on one connection within the deadline; the socket does not survive a deadline or a fault. */
  async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>, deadlineMs: number): Promise<T> {
    let client: pg.PoolClient | undefined;
    let used: pg.Pool | undefined;
    let late = false;
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        late = true;
        if (client) destroySocket(client);
        if (used) discard(used);
        reject(unavailable(`no answer within ${deadlineMs} ms`, []));
      }, deadlineMs);
    });
    const inTurn = async () => {
      used = await currentPool();
      const connected = await used.connect();
      if (late) {
        connected.release(true);
        throw unavailable(`no connection within ${deadlineMs} ms`, []);
      }
      client = connected;
      try {
        const result = await work(connected);
        client = undefined;
        connected.release(late);
        return result;
      } catch (error) {
        client = undefined;
        connected.release(isAnswer(error) ? undefined : true);
        throw error;
      }
    };
    const operation = (async () => {
      await turn();
      try {
        if (late) throw unavailable(`no connection was free within ${deadlineMs} ms`, []);
        return await inTurn();
      } finally {
        endTurn();
      }
    })();
    operation.catch(ignoreRejected); // the deadline may have been reported already
    try {
      return await Promise.race([operation, deadline]);
    } catch (error) {
      if (isAnswer(error)) throw error;
      if (used) discard(used);
      throw error instanceof HoldfastError ? error : unavailable(describe(error), [error]);
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    query: (text, values = [], { deadlineMs = defaultDeadlineMs } = {}) =>
      withClient(async (client) => (await client.query(text, [...values])).rows, deadlineMs),

    transaction: (work, { deadlineMs = defaultDeadlineMs } = {}) =>
      withClient(async (client) => {
        await client.query('begin');
        try {
          const result = await work(
            async (text, values = []) => (await client.query(text, [...values])).rows,
          );
          await client.query('commit');
          return result;
        } catch (error) {
          if (isAnswer(error)) await client.query('rollback');
          throw error;
        }
      }, deadlineMs),

    listen: (channels, handlers, { probeMs = 1_000 } = {}) =>
      startListener({
        probeMs,
        channels,
        handlers,
        connect: async () => {
          const host = await findPrimary(address, watch, connectTimeoutMs, name);
          return new pg.Client(clientOptions(address, host, connectTimeoutMs, `${name} listener`));
        },
        whyNotPrimary: (client) => whyNotPrimary(client, watch),
      }),

    async close() {
      closed = true;
      const open = await pool?.catch(() => undefined);
      await open?.end().catch(ignoreRejected);
    },
  };
}

const ignoreRejected = (): undefined => undefined;

/**
 * An error that the server's statement itself caused; the connection is as good as before. Not: shutdown or
 * crash (57P..), read-only after a demotion (25006), connection exceptions (08...), too many connections (53300).
 */
function isAnswer(error: unknown): boolean {
  if (error instanceof HoldfastError) return !error.code.startsWith('ARBITER_');
  const state = sqlState(error);
  if (state === undefined) return !(error instanceof Error) || !('code' in error || isConnectionLoss(error));
  return !/^(57P|08|53300|25006|28|3D000)/.test(state);
}

/** node-postgres reports a lost connection in words. */
const isConnectionLoss = (error: Error): boolean =>
  /connection (terminated|ended|error|timeout)|not queryable|timeout exceeded|is a standby|is read-only|an old primary|pool after calling end/i.test(
    error.message,
  );

/**
 * The arbiter's own fence: the lost instance's database role may log in no more, and what it has open is ended.
 *
 * Two steps, and the first must be committed before the second begins. Ended first, a connection would be opened
 * again before the login was taken away; both in one transaction, the new login would still see the old right, for
 * what is not committed is nobody else's to see.
 *
 * Even then one kind of connection could slip through: one that had passed the check of its right to log in just
 * before, and is not listed under its role yet. While it is in there it holds a virtual transaction, so those whose
 * owner is unknown right after the commit are remembered and waited for: each is gone, or listed, afterwards. (The
 * moment is short, but `post_auth_delay` lets any client make it as long as it likes.)
 */
import type { Query } from '../database/arbiter.ts';
import type { Clock } from '../support/clock.ts';
import { formatDuration } from '../support/duration.ts';
import { HoldfastError } from '../support/errors.ts';

/** One loss of an instance: a later one of the same instance was asked for at another moment. */
export interface FencedLoss {
  readonly instance: string;
  /** To the microsecond, as the arbiter writes it. */
  readonly askedAt: string;
}

interface Statements {
  readonly query: Query;
  readonly queryDeadlineMs: number;
}

const pauseMs = 50;

/** Superseded: the fence was confirmed or lifted meanwhile by somebody else, and nothing more is to be done. */
export async function lockOut(
  options: Statements & { readonly clock: Clock },
  role: string,
  loss: FencedLoss,
  timeoutMs: number,
): Promise<'fenced' | 'superseded'> {
  const { query, clock, queryDeadlineMs: deadlineMs } = options;
  const startMs = clock.monotonicMs();
  await refuseOwnRole(options, role);
  try {
    await alterRole(options, role, loss, 'nologin');
    let arriving = await unknownTransactions(options);
    for (;;) {
      // In this order: what has arrived is in the list that is read afterwards.
      if (arriving.length > 0) arriving = await stillOpen(options, arriving);
      const [row] = await query<{ pending: boolean; living: number }>(
        terminate,
        [role, loss.instance, loss.askedAt],
        {
          deadlineMs,
        },
      );
      if (!row?.pending) return 'superseded';
      if (row.living + arriving.length === 0) return 'fenced';
      if (clock.monotonicMs() - startMs >= timeoutMs)
        throw stillConnected(role, row.living, arriving.length, timeoutMs);
      await clock.sleep(pauseMs);
    }
  } catch (error) {
    throw explained(error, role);
  }
}

/** The login comes back and the fence's row goes, together. */
export async function unlock(options: Statements, role: string, loss: FencedLoss): Promise<void> {
  try {
    await alterRole(options, role, loss, 'login');
  } catch (error) {
    throw explained(error, role);
  }
}

/**
 * Counts and ends what the role has open. One that is counted here has been told to end and may still be at it; it
 * leaves the list when its transaction is rolled back.
 */
const terminate = `
  select pending, case when pending then
    (select count(pg_terminate_backend(a.pid)) from pg_stat_activity a where a.usename = $1) else 0 end::int as living
  from (select exists (select from holdfast.fence
    where instance = $2 and asked_at = $3::timestamptz and done_at is null) as pending) as state`;

/** Whoever takes away the login that all agents use locks out the arbiter's own cluster. */
async function refuseOwnRole({ query, queryDeadlineMs }: Statements, role: string): Promise<void> {
  const [row] = await query<{ own: boolean }>('select $1 in (current_user, session_user) as own', [role], {
    deadlineMs: queryDeadlineMs,
  });
  if (!row?.own) return;
  throw new HoldfastError(
    'CONFIGURATION_INVALID',
    `the role "${role}" is the one that Holdfast itself connects with`,
    {
      remedy: 'Give every instance a role of its own and name it in `fence.role`.',
    },
  );
}

/**
 * `alter role` takes no parameters, so the server writes the statement: `%I` and `%L` quote whatever the names hold.
 * The fence's row is locked around it. So nobody takes the login away from an instance whose fence was lifted since,
 * nobody gives it back to one that was lost since, and two agents do not alter the same role at once.
 */
async function alterRole(
  { query, queryDeadlineMs: deadlineMs }: Statements,
  role: string,
  loss: FencedLoss,
  right: 'login' | 'nologin',
): Promise<void> {
  const steps =
    right === 'nologin'
      ? 'if found then alter role %3$I nologin; end if;'
      : 'if found then alter role %3$I login; delete from holdfast.fence where instance = %1$L; end if;';
  const body = `begin
    perform from holdfast.fence where instance = %1$L and asked_at = %2$L::timestamptz
      and done_at is ${right === 'nologin' ? '' : 'not '}null for update;
    ${steps}
  end`;
  const [row] = await query<{ statement: string }>(
    `select format('do %L', format($1, $2::text, $3::text, $4::text)) as statement`,
    [body, loss.instance, loss.askedAt, role],
    { deadlineMs },
  );
  if (row) await query(row.statement, [], { deadlineMs });
}

/**
 * Transactions of connections that are just being opened: whose they are is not known yet. Those that still prove
 * their password are among them; the server gives up on one that dallies after its `authentication_timeout`.
 */
async function unknownTransactions({ query, queryDeadlineMs }: Statements): Promise<string[]> {
  const rows = await query<{ transaction: string }>(
    `select l.virtualtransaction as transaction from pg_locks l left join pg_stat_activity a on a.pid = l.pid
     where l.locktype = 'virtualxid' and a.usesysid is null and a.datid is null`,
    [],
    { deadlineMs: queryDeadlineMs },
  );
  return rows.map(({ transaction }) => transaction);
}

async function stillOpen({ query, queryDeadlineMs }: Statements, transactions: string[]): Promise<string[]> {
  const rows = await query<{ transaction: string }>(
    `select virtualtransaction as transaction from pg_locks
     where locktype = 'virtualxid' and virtualtransaction = any ($1)`,
    [transactions],
    { deadlineMs: queryDeadlineMs },
  );
  return rows.map(({ transaction }) => transaction);
}

function stillConnected(role: string, living: number, arriving: number, timeoutMs: number): HoldfastError {
  const what = [
    living > 0 ? `${living} of its connections did not end` : '',
    arriving > 0 ? `${arriving} connections whose role is not known yet were still being opened` : '',
  ].filter(Boolean);
  return new HoldfastError(
    'ARBITER_REFUSED',
    `the role "${role}" may log in no more, but ${what.join(' and ')} within ${formatDuration(timeoutMs)}`,
    {
      remedy: `See what they do: select * from pg_stat_activity where usename = '${role.replaceAll("'", "''")}'.`,
    },
  );
}

const insufficientPrivilege = '42501';
const undefinedObject = '42704';

/** The server's error, with what to do about it where that is known. */
function explained(error: unknown, role: string): unknown {
  const state = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  if (state === undefinedObject) {
    return new HoldfastError(
      'CONFIGURATION_INVALID',
      `the role "${role}" of the lost instance does not exist`,
      {
        remedy: 'Create it and let only that instance connect with it, or correct `fence.role`.',
        cause: error,
      },
    );
  }
  if (state !== insufficientPrivilege) return error;
  const said = (error as Error).message;
  return new HoldfastError(
    'ARBITER_REFUSED',
    `the arbiter does not let Holdfast fence the role "${role}": ${said}`,
    {
      remedy:
        'Give the role that Holdfast connects with CREATEROLE, the admin option on that role, and membership in pg_signal_backend.',
      cause: error,
    },
  );
}

/**
 * The fence between *declared lost* and *taken over*: what makes sure that an instance nobody hears any more does
 * nothing any more. A lease tells an agent to stop; a fence does not ask. Until it has succeeded the work of the
 * lost instance stays held, for a late start can be made good and a double one cannot.
 *
 * A fence is a row, not a process: whichever agent looks first does it, several may do it at once, and one that
 * dies half-way is followed by the next. So every step may be repeated, and every step that changes something names
 * the loss it is for (`asked_at`): an agent that slept through a return and a second loss must neither lock out an
 * instance that is back nor report a fence as done that it did for the loss before.
 */
import type { Query } from '../database/arbiter.ts';
import { runHook } from '../platform/hook-command.ts';
import type { Clock } from '../support/clock.ts';
import { formatDuration } from '../support/duration.ts';
import { HoldfastError } from '../support/errors.ts';
import type { Log } from '../support/log.ts';
import { type FencedLoss, lockOut, unlock } from './role-fence.ts';

export type Fence =
  | { readonly kind: 'command'; readonly command: string; readonly timeoutMs: number }
  /** `{instance}` in it stands for the name of the lost instance. */
  | { readonly kind: 'role'; readonly role: string; readonly timeoutMs: number };

export interface FenceLostOptions {
  readonly query: Query;
  /** As configured; undefined where nothing is any more: then what was asked for before counts as done. */
  readonly fence: Fence | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Where a command runs; left out: where the agent does. */
  readonly directory?: string;
  /** What a command gets besides the agent's own environment and HOLDFAST_LOST_INSTANCE. */
  readonly environment?: Readonly<Record<string, string>>;
  /** How long after a failure it is tried again. */
  readonly retryMs?: number;
}

const queryDeadlineMs = 3_000;
/** So many at a time, when a whole rack is lost. */
const atOnce = 8;
/** What a fence may take beyond its time-out before somebody else is to try: its statements. */
const reserveMs = 10_000;

/**
 * Does the fences that are due. Answers how many of them are done; those that failed are stored with the reason,
 * logged, and due again later. Rejects only where the arbiter does not say what is due.
 */
export async function fenceLost(options: FenceLostOptions): Promise<number> {
  const taken = await options.query<{ instance: string }>(
    'select instance from holdfast.fence_take($1) as instance',
    [(options.fence?.timeoutMs ?? 0) + reserveMs],
    { deadlineMs: queryDeadlineMs },
  );
  const queue = taken.map(({ instance }) => instance);
  let done = 0;
  const work = async (): Promise<void> => {
    for (let instance = queue.shift(); instance !== undefined; instance = queue.shift()) {
      if (await fenceOne(options, instance)) done++;
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, queue.length) }, work));
  return done;
}

/** Never rejects. True when this call has confirmed the fence. */
async function fenceOne(options: FenceLostOptions, instance: string): Promise<boolean> {
  const { query, fence, log } = options;
  let loss: FencedLoss | undefined;
  try {
    // Read after it was taken and before anything is done: what follows is for this loss or for none.
    loss = await pendingLoss(query, instance);
    if (loss === undefined) return false;
    if (fence === undefined)
      log.warn({ instance }, `${instance} was lost, and no fence is configured any more`);
    else if (fence.kind === 'command') await runFenceCommand(options, fence, instance);
    else {
      const state = await lockOut(
        { ...options, queryDeadlineMs },
        roleOf(fence.role, instance),
        loss,
        fence.timeoutMs,
      );
      if (state === 'superseded') return false;
    }
    if (!(await confirm(query, loss))) return false;
    if (fence)
      log.warn(
        { instance, fence: fence.kind },
        `${instance} was lost and is fenced: its work may go on elsewhere`,
      );
    return true;
  } catch (error) {
    await report(options, instance, loss, error);
    return false;
  }
}

const roleOf = (pattern: string, instance: string): string => pattern.replaceAll('{instance}', instance);

interface PendingLoss extends FencedLoss {
  /** The agent that was lost; null where the arbiter does not know it. */
  readonly agentId: string | null;
}

async function pendingLoss(query: Query, instance: string): Promise<PendingLoss | undefined> {
  const [row] = await query<{ asked_at: string; agent_id: string | null }>(
    'select asked_at::text, agent_id from holdfast.fence where instance = $1 and done_at is null',
    [instance],
    { deadlineMs: queryDeadlineMs },
  );
  return row && { instance, askedAt: row.asked_at, agentId: row.agent_id };
}

/** The row is locked before it is compared: a new loss of the same instance is not done with this one. */
async function confirm(query: Query, loss: FencedLoss): Promise<boolean> {
  const rows = await query(
    `select holdfast.fence_done(f.instance) from (
       select instance from holdfast.fence
       where instance = $1 and asked_at = $2::timestamptz and done_at is null for update) f`,
    [loss.instance, loss.askedAt],
    { deadlineMs: queryDeadlineMs },
  );
  return rows.length > 0;
}

async function runFenceCommand(
  options: FenceLostOptions,
  fence: Extract<Fence, { kind: 'command' }>,
  instance: string,
): Promise<void> {
  // Nothing is put into the text of a command. One that counts on it would fence nobody, and perhaps exit with 0.
  if (/(?<!\$)\{instance\}/.test(fence.command)) {
    throw new HoldfastError(
      'CONFIGURATION_INVALID',
      'the fence command contains {instance}, which is not replaced',
      {
        remedy: 'Write "$HOLDFAST_LOST_INSTANCE" in its place.',
      },
    );
  }
  const end = await runHook({
    command: fence.command,
    directory: options.directory ?? process.cwd(),
    environment: { ...options.environment, HOLDFAST_LOST_INSTANCE: instance },
    limitMs: fence.timeoutMs,
    log: options.log,
  });
  if (end.succeeded) return;
  throw new HoldfastError('COMMAND_FAILED', `the fence command ${end.why}`, {
    remedy:
      'Run it by hand with HOLDFAST_LOST_INSTANCE set; it must exit with 0 once that instance can do no more.',
  });
}

async function report(
  { query, fence, log, retryMs = 5_000 }: FenceLostOptions,
  instance: string,
  loss: FencedLoss | undefined,
  error: unknown,
): Promise<void> {
  const why = error instanceof Error ? error.message : String(error);
  const remedy = error instanceof HoldfastError ? error.remedy : undefined;
  log.error(
    { instance, fence: fence?.kind, error: why, remedy: remedy ?? 'See that the arbiter answers.' },
    `${instance} was lost and CANNOT BE FENCED: its work stays held until it can; tried again in ${formatDuration(retryMs)}`,
  );
  if (loss === undefined) return;
  try {
    await query(
      `update holdfast.fence set error = $3, not_before = holdfast.now() + $4 * interval '1 ms'
       where instance = $1 and asked_at = $2::timestamptz and done_at is null`,
      [instance, loss.askedAt, remedy === undefined ? why : `${why}. ${remedy}`, retryMs],
      { deadlineMs: queryDeadlineMs },
    );
  } catch (unstored) {
    // It is due again all the same, only later: taking it has put it off.
    log.warn({ instance, error: String(unstored) }, 'why a fence failed could not be stored');
  }
}

export interface LiftOptions {
  readonly query: Query;
  readonly instance: string;
  /** As configured; undefined where nothing is any more. */
  readonly fence: Fence | undefined;
}

/**
 * - none: there was no fence;
 * - lifted: there was one, and the instance may be started;
 * - pending: it was asked for and is not done. The instance must not be started before it is, or was abandoned.
 */
export type LiftResult = 'none' | 'lifted' | 'pending';

/** Before an instance that is back is started: it gets its role's login back, and its fence goes. */
export async function liftFence({ query, instance, fence }: LiftOptions): Promise<LiftResult> {
  const [row] = await query<{ asked_at: string; done: boolean }>(
    'select asked_at::text, done_at is not null as done from holdfast.fence where instance = $1',
    [instance],
    { deadlineMs: queryDeadlineMs },
  );
  if (row === undefined) return 'none';
  if (!row.done) return 'pending';
  const loss = { instance, askedAt: row.asked_at };
  if (fence?.kind === 'role') await unlock({ query, queryDeadlineMs }, roleOf(fence.role, instance), loss);
  else {
    await query(
      'delete from holdfast.fence where instance = $1 and asked_at = $2::timestamptz and done_at is not null',
      [instance, loss.askedAt],
      { deadlineMs: queryDeadlineMs },
    );
  }
  const left = await query('select from holdfast.fence where instance = $1', [instance], {
    deadlineMs: queryDeadlineMs,
  });
  return left.length === 0 ? 'lifted' : 'pending';
}

export interface AbandonOptions extends LiftOptions {
  /** Ids of former agents of the instance that are proved dead, and their applications with them. */
  readonly dead: readonly string[];
}

/**
 * For a caller that has proof that the lost agent and its instance are dead: what the fence was to bring about is
 * so, whether it was done, half done or not begun. What was held goes on, and the fence is lifted.
 *
 * The proof is worth something only for the very agent that was lost. An instance that moved to another host and was
 * lost there leaves records of earlier agents on this one; that those are dead says nothing about the one over there,
 * which may be at work. Its fence is waited for (P1).
 */
export async function abandonFence(options: AbandonOptions): Promise<LiftResult> {
  const loss = await pendingLoss(options.query, options.instance);
  if (loss && loss.agentId !== null && options.dead.includes(loss.agentId))
    await confirm(options.query, loss);
  return liftFence(options);
}

/**
 * Tells somebody of events that went wrong: by a webhook, or by a command.
 *
 * At least once. An alarm is a row in the arbiter that goes when it was delivered; taking it only puts it off, so
 * an agent that dies with it in hand loses nothing, and one that dies between delivery and the row's end has it
 * delivered again. Every message therefore has an id by which a receiver can know it again.
 */
import type { Query } from '../database/arbiter.ts';
import { runHook } from '../platform/hook-command.ts';
import { formatDuration } from '../support/duration.ts';
import type { Log } from '../support/log.ts';

interface Alarm {
  readonly hook:
    | { readonly kind: 'post'; readonly url: string }
    | { readonly kind: 'command'; readonly command: string };
}

type Outcome = 'succeeded' | 'failed' | 'skipped' | 'missed' | 'abandoned';

/** What is posted, and what a command finds in HOLDFAST_ALARM. Moments are ISO 8601 in UTC. */
export interface AlarmMessage {
  /** The same whenever this alarm is delivered again. */
  readonly id: string;
  readonly cluster: string;
  readonly event: string;
  /** The instance that it was due on; empty for an event that runs once in the cluster. */
  readonly place: string;
  readonly outcome: Outcome;
  readonly reason: string | null;
  readonly due: string;
  /** Moments that were missed in a row are one alarm: from `due` to `lastDue`, `dues` of them. */
  readonly lastDue: string;
  readonly dues: number;
  readonly attempts: number;
  /** Where it ran last; null where it never did. */
  readonly instance: string | null;
  /** An excerpt of what it answered or printed. */
  readonly result: string | null;
  readonly ended: string;
  /** All of it in a sentence, under the key that chats show. */
  readonly text: string;
}

export interface AlarmOptions {
  readonly query: Query;
  readonly alarm: Alarm;
  readonly cluster: string;
  readonly log: Log;
  /** Sent as bearer token with `post`. */
  readonly secret?: string | undefined;
  /** Where a command runs; left out: where the agent does. */
  readonly directory?: string;
  /** What a command gets besides the agent's own environment and the HOLDFAST_ALARM variables. */
  readonly environment?: Readonly<Record<string, string>>;
}

const queryDeadlineMs = 3_000;
/** At once, so that all are done before the first of them is due again. */
const atOnce = 20;
const postDeadlineMs = 10_000;
const commandDeadlineMs = 30_000;
/** Given up when both are passed: then the receiver was away for a week, and not the agents. */
const keptForMs = 7 * 86_400_000;
const keptForTries = 60;

/** Delivers what is due, and answers how many were. Rejects only where the arbiter cannot be asked or told. */
export async function deliverAlarms(options: AlarmOptions): Promise<number> {
  const { query } = options;
  const taken = await query<{ alarm: TakenAlarm; age_ms: number }>(
    `select alarm, holdfast.ms(holdfast.now()) - (alarm ->> 'endedMs')::float8 as age_ms
     from holdfast.alarm_take($1) as alarm`,
    [atOnce],
    { deadlineMs: queryDeadlineMs },
  );
  const tried = await Promise.all(
    taken.map(async ({ alarm, age_ms }) => ({ alarm, ageMs: age_ms, error: await deliver(options, alarm) })),
  );
  const failed = tried.filter(({ error }) => error !== undefined);
  const hopeless = failed.filter(({ alarm, ageMs }) => alarm.tries > keptForTries && ageMs > keptForMs);
  for (const one of failed) logFailure(options, one, hopeless.includes(one));
  await forget(
    query,
    tried.filter((one) => !failed.includes(one) || hopeless.includes(one)),
  );
  await remember(
    query,
    failed.filter((one) => !hopeless.includes(one)),
  );
  return tried.length - failed.length;
}

/** As `holdfast.alarm_take` answers. */
interface TakenAlarm {
  readonly id: string;
  readonly tries: number;
  readonly event: string;
  readonly place: string;
  readonly dueMs: number;
  readonly lastDueMs: number;
  readonly dues: number;
  readonly outcome: Outcome;
  readonly reason: string | null;
  readonly attempts: number;
  readonly endedMs: number;
  readonly instance: string | null;
  readonly result: string | null;
}

interface Tried {
  readonly alarm: TakenAlarm;
  /** Undefined: delivered. */
  readonly error: string | undefined;
}

async function forget(query: Query, alarms: readonly Tried[]): Promise<void> {
  if (alarms.length === 0) return;
  await query(
    'delete from holdfast.alarm where id = any ($1::bigint[])',
    [alarms.map(({ alarm }) => alarm.id)],
    {
      deadlineMs: queryDeadlineMs,
    },
  );
}

async function remember(query: Query, alarms: readonly Tried[]): Promise<void> {
  if (alarms.length === 0) return;
  await query(
    `update holdfast.alarm a set error = x.error
     from jsonb_to_recordset($1) as x(id bigint, error text) where a.id = x.id`,
    [JSON.stringify(alarms.map(({ alarm, error }) => ({ id: alarm.id, error })))],
    { deadlineMs: queryDeadlineMs },
  );
}

/** The address stays out: with many receivers it is itself the secret. */
function logFailure(
  { log, cluster, alarm: { hook } }: AlarmOptions,
  { alarm, error }: Tried,
  givenUp: boolean,
): void {
  const fields = { event: alarm.event, outcome: alarm.outcome, tries: alarm.tries, by: hook.kind, error };
  const { text } = messageOf(cluster, alarm);
  if (givenUp) log.error(fields, `an alarm was never delivered and is given up: ${text}`);
  else log.warn(fields, `an alarm could not be delivered and is tried again: ${text}`);
}

/** Undefined when it was delivered, else why it was not. Never rejects. */
function deliver(options: AlarmOptions, alarm: TakenAlarm): Promise<string | undefined> {
  const message = messageOf(options.cluster, alarm);
  const { hook } = options.alarm;
  return hook.kind === 'post' ? post(hook.url, message, options.secret) : run(options, hook.command, message);
}

async function post(
  url: string,
  message: AlarmMessage,
  secret: string | undefined,
): Promise<string | undefined> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        'Idempotency-Key': message.id,
        ...(secret === undefined ? {} : { Authorization: `Bearer ${secret}` }),
      },
      body: JSON.stringify(message),
      // Neither the alarm nor the secret goes to an address that nobody configured.
      redirect: 'manual',
      signal: AbortSignal.timeout(postDeadlineMs),
    });
    await response.body?.cancel();
    return response.ok ? undefined : `the receiver answered ${response.status}`;
  } catch (error) {
    return whyUnsent(error);
  }
}

/** In our own words: those of an error may quote the header with the secret, or the address. */
function whyUnsent(error: unknown): string {
  if (!(error instanceof Error)) return 'the message could not be sent';
  if (error.name === 'TimeoutError')
    return `the receiver did not answer within ${formatDuration(postDeadlineMs)}`;
  const code = (error.cause as { code?: unknown } | undefined)?.code;
  if (typeof code === 'string') return `the receiver cannot be reached (${code})`;
  return 'the message could not be sent; see that the address is right and that the secret is one line of plain text';
}

async function run(
  options: AlarmOptions,
  command: string,
  message: AlarmMessage,
): Promise<string | undefined> {
  const end = await runHook({
    command,
    directory: options.directory ?? process.cwd(),
    environment: {
      ...options.environment,
      HOLDFAST_ALARM: JSON.stringify(message),
      HOLDFAST_ALARM_EVENT: message.event,
      HOLDFAST_ALARM_OUTCOME: message.outcome,
      HOLDFAST_ALARM_REASON: message.reason ?? '',
      HOLDFAST_ALARM_DUE: message.due,
    },
    limitMs: commandDeadlineMs,
    log: options.log,
  });
  return end.succeeded ? undefined : `the command ${end.why}`;
}

/** A system takes no longer variable than 128 KiB, and nobody reads as much. */
const longestExcerpt = 4_000;

function messageOf(cluster: string, alarm: TakenAlarm): AlarmMessage {
  const reason = alarm.reason === null ? null : excerpt(alarm.reason);
  const due = isoMoment(alarm.dueMs);
  const lastDue = isoMoment(alarm.lastDueMs);
  return {
    id: alarm.id,
    cluster,
    event: alarm.event,
    place: alarm.place,
    outcome: alarm.outcome,
    reason,
    due,
    lastDue,
    dues: alarm.dues,
    attempts: alarm.attempts,
    instance: alarm.instance,
    result: alarm.result === null ? null : excerpt(alarm.result),
    ended: isoMoment(alarm.endedMs),
    text: sentence(cluster, alarm, { reason, due, lastDue }),
  };
}

const inWords: Readonly<Record<Outcome, string>> = {
  succeeded: 'succeeded',
  failed: 'failed',
  skipped: 'was skipped',
  missed: 'was missed',
  abandoned: 'was abandoned',
};

function sentence(
  cluster: string,
  { event, outcome, place, instance, dues, attempts }: TakenAlarm,
  { reason, due, lastDue }: Pick<AlarmMessage, 'reason' | 'due' | 'lastDue'>,
): string {
  const times = dues > 1 ? ` ${dues} times` : '';
  const where = instance ?? place;
  const on = where === '' ? '' : ` on ${where}`;
  const why = reason === null ? '' : `: ${reason}`;
  const when = dues > 1 ? `due from ${due} to ${lastDue}` : `due ${due}`;
  const tries = attempts > 1 ? `, ${attempts} attempts` : '';
  return `${event} ${inWords[outcome]}${times}${on}${why} (${when}${tries}, cluster ${cluster})`;
}

const isoMoment = (ms: number): string => new Date(ms).toISOString();

/** Whole characters only: half of a surrogate pair is no text. */
const excerpt = (text: string): string =>
  text.length <= longestExcerpt ? text : `${text.slice(0, longestExcerpt).replace(/[\ud800-\udbff]$/, '')}…`;

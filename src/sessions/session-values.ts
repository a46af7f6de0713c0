/**
 * Between the object that an application calls its session and the JSON texts that are compared and stored.
 *
 * The cookie record in it is special: its expiry moves with every request and says nothing new, so only its
 * settings are stored; the expiry is computed when the session is read.
 */
import type { SessionValues } from '../protocol/session-merge.ts';
import { HoldfastError } from '../support/errors.ts';

const cookieKey = 'cookie';

/** The JSON text of every key. Throws SESSION_INVALID and names the key that cannot be stored. */
export function textsOf(session: object, read: SessionValues | undefined): Map<string, string> {
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(session)) {
    const text = key === cookieKey ? cookieText(value, read?.get(key)?.text) : textOf(key, value);
    if (text !== undefined) texts.set(key, text);
  }
  return texts;
}

function textOf(key: string, value: unknown): string | undefined {
  if (!key.isWellFormed() || key.includes('\u0000')) {
    throw new HoldfastError('SESSION_INVALID', `The session key ${JSON.stringify(key)} is not valid text.`);
  }
  try {
    return JSON.stringify(value);
  } catch (cause) {
    const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : '';
    throw new HoldfastError('SESSION_INVALID', `The session key "${key}" cannot be stored as JSON: ${why}`, {
      cause,
    });
  }
}

interface CookieRecord extends Record<string, unknown> {
  originalMaxAge?: unknown;
  maxAge?: unknown;
  expires?: unknown;
}

function cookieText(cookie: unknown, readText: string | undefined): string | undefined {
  if (typeof cookie !== 'object' || cookie === null) return undefined;
  const record = cookieRecord(cookie);
  if (lifetimeMs(record) !== undefined) {
    record.originalMaxAge = lifetimeMs(record);
    delete record.expires;
    delete record.originalExpires;
  }
  delete record.maxAge;
  const text = JSON.stringify(record);
  return readText !== undefined && sameButForDrift(readText, record) ? readText : text;
}

function cookieRecord(cookie: object): CookieRecord {
  return 'toJSON' in cookie && typeof cookie.toJSON === 'function' ? { ...cookie.toJSON() } : { ...cookie };
}

function lifetimeMs(record: CookieRecord): number | undefined {
  if (typeof record.originalMaxAge === 'number') return record.originalMaxAge;
  return typeof record.maxAge === 'number' && record.originalMaxAge === undefined ? record.maxAge : undefined;
}

/** express-session's originalMaxAge loses a millisecond whenever the clock ticks inside its setter. */
function sameButForDrift(readText: string, now: CookieRecord): boolean {
  const read: CookieRecord = JSON.parse(readText);
  const [before, after] = [read.originalMaxAge, now.originalMaxAge];
  if (typeof before !== 'number' || typeof after !== 'number') return false;
  const drift = before - after;
  if (drift < 0 || drift > Math.min(1_000, before * 0.05)) return false;
  return JSON.stringify({ ...now, originalMaxAge: before }) === JSON.stringify({ ...read });
}

/** How long the session may stay idle: what its cookie says, else the default. */
export function idleMsOf(texts: ReadonlyMap<string, string>, defaultIdleMs: number, wallMs: number): number {
  const text = texts.get(cookieKey);
  if (text === undefined) return defaultIdleMs;
  const record: CookieRecord = JSON.parse(text);
  const lifetime = lifetimeMs(record);
  if (lifetime !== undefined) return Math.max(0, Math.round(lifetime));
  const expiresMs = typeof record.expires === 'string' ? Date.parse(record.expires) : Number.NaN;
  return Number.isNaN(expiresMs) ? defaultIdleMs : Math.max(0, Math.round(expiresMs - wallMs));
}

/** A fresh object for one request: what it changes, no other request sees. */
export function sessionObject(values: SessionValues, expiresAtMs: number): Record<string, unknown> {
  // fromEntries defines own properties, so that a key named __proto__ stays a key.
  const session = Object.fromEntries(
    [...values].map(([key, { text }]) => [key, JSON.parse(text) as unknown]),
  );
  const cookie: CookieRecord = {
    originalMaxAge: null,
    expires: null,
    ...(session[cookieKey] as object | undefined),
  };
  if (typeof cookie.originalMaxAge === 'number') cookie.expires = new Date(expiresAtMs).toISOString();
  session[cookieKey] = cookie;
  return session;
}

/** Whether there is anything in it that a visitor stored. */
export function hasContent(session: object): boolean {
  return Object.keys(session).some((key) => key !== cookieKey);
}

/** The user that a session belongs to, where the application does not say: `user`, `userId`, or passport's. */
export function defaultUserOf(data: Readonly<Record<string, unknown>>): string | undefined {
  const passport = data.passport;
  const nested =
    typeof passport === 'object' && passport !== null && 'user' in passport ? passport.user : undefined;
  for (const candidate of [data.user, data.userId, nested]) {
    const named =
      typeof candidate === 'object' && candidate !== null && 'id' in candidate ? candidate.id : candidate;
    if ((typeof named === 'string' && named !== '') || typeof named === 'number') return String(named);
  }
  return undefined;
}

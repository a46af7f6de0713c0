/**
 * The version travels with the user. Beside the session cookie goes a second one that says, signed, which version
 * of the session a response knew. Whoever wrote later gave the user a newer cookie, so an instance that holds a copy
 * of exactly that version need not ask the arbiter.
 *
 * But responses overtake each other: the one that knew less may arrive last, and its cookie replaces the newer one.
 * So every cookie that is sent is told apart by a nonce, and counts only on an instance that has once asked the
 * arbiter *for a request that brought it back*. When a cookie comes back, every response that it replaced had arrived
 * before; what those had saved, the arbiter had by then. If its version was still the same, it is a later cookie,
 * with another nonce, that tells of anything later.
 *
 * While saves are deferred, a copy is ahead of the arbiter by a number of saves; that number is part of the tag, so
 * that no other instance takes its older copy for current.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

export interface VersionTag {
  /** The arbiter's version. */
  readonly version: number;
  /** How many saves on top of it the arbiter has not seen yet. */
  readonly deferred: number;
}

/** What a cookie states. */
export interface StatedVersion extends VersionTag {
  readonly nonce: string;
}

export interface VersionSigner {
  /** The nonce is 11 characters of base64url, another one for every cookie that is sent. */
  sign(idHash: string, stated: StatedVersion): string;
  /** What was stated, if it was signed for this session. */
  verify(idHash: string, cookie: string): StatedVersion | undefined;
}

type Secret = string | NodeJS.ArrayBufferView;

/** The first secret signs, every secret verifies. */
export function versionSigner(secrets: readonly Secret[]): VersionSigner {
  const keys = secrets.map((secret) =>
    createHmac('sha256', asKey(secret)).update('holdfast session version').digest(),
  );
  const macOf = (key: Buffer, idHash: string, stated: string) =>
    createHmac('sha256', key).update(`${idHash}.${stated}`).digest();
  return {
    sign(idHash, { version, deferred, nonce }) {
      const stated = `${version}.${deferred}.${nonce}`;
      const [key] = keys;
      return key ? `${stated}.${macOf(key, idHash, stated).toString('base64url')}` : '';
    },
    verify(idHash, cookie) {
      const match = /^((\d{1,16})\.(\d{1,9})\.([\w-]{11}))\.([\w-]{43})$/.exec(cookie);
      if (!match) return undefined;
      const [, stated = '', version, deferred, nonce = '', mac = ''] = match;
      const given = Buffer.from(mac, 'base64url');
      const signed = keys.some((key) => timingSafeEqual(macOf(key, idHash, stated), given));
      return signed ? { version: Number(version), deferred: Number(deferred), nonce } : undefined;
    },
  };
}

function asKey(secret: Secret): string | Buffer {
  return typeof secret === 'string'
    ? secret
    : Buffer.from(secret.buffer, secret.byteOffset, secret.byteLength);
}

export function sameTag(one: VersionTag, other: VersionTag): boolean {
  return one.version === other.version && one.deferred === other.deferred;
}

export function isNewer(one: VersionTag, other: VersionTag): boolean {
  return one.version > other.version || (one.version === other.version && one.deferred > other.deferred);
}

/** One cookie of a Cookie header. */
export function cookieNamed(header: string | undefined, name: string): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const equals = pair.indexOf('=');
    if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
  }
  return undefined;
}

export interface CookieAttributes {
  readonly path?: unknown;
  readonly domain?: unknown;
  readonly secure?: unknown;
  readonly sameSite?: unknown;
  readonly partitioned?: unknown;
}

/**
 * A Set-Cookie line with the attributes of the session's own cookie, but for the lifetime: it ends with the
 * browser window. Without it the arbiter is asked, nothing else.
 */
export function versionCookieLine(name: string, value: string, like: CookieAttributes): string {
  const parts = [`${name}=${value}`, `Path=${typeof like.path === 'string' ? like.path : '/'}`, 'HttpOnly'];
  if (typeof like.domain === 'string' && like.domain !== '') parts.push(`Domain=${like.domain}`);
  if (like.secure) parts.push('Secure');
  if (like.partitioned) parts.push('Partitioned');
  const sameSite = like.sameSite === true ? 'strict' : like.sameSite;
  if (typeof sameSite === 'string')
    parts.push(`SameSite=${sameSite.charAt(0).toUpperCase()}${sameSite.slice(1)}`);
  return parts.join('; ');
}

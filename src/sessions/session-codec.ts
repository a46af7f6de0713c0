/**
 * What a session looks like outside this process: the id only as its SHA-256, so that who can read the database
 * cannot take over a session; values as JSON text, or as AES-256-GCM ciphertext bound to session and key, so that
 * a value can be moved neither to another session nor to another key. Names of keys and users stay readable.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import type { SessionDelta, SessionValues, StoredValue } from '../protocol/session-merge.ts';
import { HoldfastError } from '../support/errors.ts';

/** As the database sends it: key → [version, text]. */
export type StoredData = Readonly<Record<string, readonly [number, string]>>;

export interface SessionCodec {
  encode(idHash: string, delta: SessionDelta): string;
  decode(idHash: string, data: StoredData): SessionValues;
}

/** Begins no JSON text. */
const cipherMark = 'v1.';
const ivBytes = 12;
const tagBytes = 16;

/** The hash of a session id, in hex. */
export function hashSessionId(id: string): string {
  return createHash('sha256').update(id).digest('hex');
}

/** The first key encrypts, every key decrypts; without keys values are stored as they are. */
export function openSessionCodec(encryptionKeys: readonly string[]): SessionCodec {
  const keys = encryptionKeys.map(parseEncryptionKey);
  const [sealing] = keys;
  return {
    encode(idHash, delta) {
      const changes = [...delta].map(([key, { baseVersion, text }]) => {
        const stored = text === undefined ? null : sealing ? seal(sealing, aad(idHash, key), text) : text;
        return [key, [baseVersion, stored]];
      });
      return JSON.stringify(Object.fromEntries(changes));
    },
    decode(idHash, data) {
      return new Map(
        Object.entries(data).map(([key, [version, text]]): [string, StoredValue] => {
          const clear = text.startsWith(cipherMark) ? open(keys, aad(idHash, key), text) : text;
          return [key, { version, text: clear }];
        }),
      );
    },
  };
}

function parseEncryptionKey(text: string): Buffer {
  const key = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64');
  if (key.length === 32) return key;
  throw new HoldfastError(
    'CONFIGURATION_INVALID',
    'sessions.encryptionKey is not a key of 32 bytes in base64 or hex.',
    {
      remedy: 'Make one with: openssl rand -base64 32',
    },
  );
}

function aad(idHash: string, key: string): Buffer {
  return Buffer.from(`${idHash}:${key}`);
}

function seal(key: Buffer, bound: Buffer, text: string): string {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(bound);
  const sealed = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return cipherMark + sealed.toString('base64');
}

function open(keys: readonly Buffer[], bound: Buffer, text: string): string {
  const sealed = Buffer.from(text.slice(cipherMark.length), 'base64');
  const body = sealed.subarray(ivBytes, -tagBytes);
  for (const key of keys) {
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, ivBytes), {
        authTagLength: tagBytes,
      });
      decipher.setAAD(bound).setAuthTag(sealed.subarray(-tagBytes));
      return decipher.update(body, undefined, 'utf8') + decipher.final('utf8');
    } catch {
      // Sealed with another key, or tampered with: only when no key fits is it an error.
    }
  }
  throw new HoldfastError(
    'SESSION_UNAVAILABLE',
    'A session was encrypted with a key that this instance does not have.',
    {
      remedy:
        'Give every instance the same encryptionKey; keep the previous key in the list while sessions live.',
    },
  );
}

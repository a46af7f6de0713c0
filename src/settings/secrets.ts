/**
 * Secrets stand in the configuration as references and become values only on the host that uses them. No message
 * made here contains a value; a redacted document is one that can be shown to anybody.
 */
import { readFile } from 'node:fs/promises';
import { HoldfastError } from '../support/errors.ts';
import type { JsonValue } from './document.ts';
import type { SecretReference } from './values.ts';

export interface SecretPlaces {
  readonly readFile: (path: string) => Promise<string>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const hostSecretPlaces: SecretPlaces = {
  readFile: (path) => readFile(path, 'utf8'),
  env: process.env,
};

/**
 * The value behind a reference. One newline at its end is dropped, as editors and `echo` add it. `usedFor` is the
 * key that refers to it, such as `database.password`: an error begins with it.
 */
export async function resolveSecret(
  reference: SecretReference,
  usedFor = 'secret',
  places: SecretPlaces = hostSecretPlaces,
): Promise<string> {
  const value =
    'file' in reference
      ? await fromFile(reference.file, usedFor, places)
      : fromEnv(reference.env, usedFor, places);
  const secret = value.replace(/\r?\n$/, '');
  if (secret !== '') return secret;
  const place =
    'file' in reference ? `the file ${reference.file}` : `the environment variable ${reference.env}`;
  throw unavailable(`${usedFor}: ${place} is empty`, 'Put the secret there.');
}

async function fromFile(path: string, usedFor: string, places: SecretPlaces): Promise<string> {
  try {
    return await places.readFile(path);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'error';
    const reasons: Record<string, string> = {
      ENOENT: 'does not exist',
      EACCES: 'may not be read by this user',
      EISDIR: 'is a folder',
    };
    throw unavailable(
      `${usedFor}: the file ${path} ${reasons[code] ?? `cannot be read (${code})`}`,
      'Create it on this host, readable by the user that runs Holdfast.',
    );
  }
}

function fromEnv(name: string, usedFor: string, places: SecretPlaces): string {
  const value = places.env[name];
  if (value !== undefined) return value;
  throw unavailable(
    `${usedFor}: the environment variable ${name} is not set`,
    'Set it where Holdfast is started.',
  );
}

function unavailable(message: string, remedy: string): HoldfastError {
  return new HoldfastError('SECRET_UNAVAILABLE', message, { remedy });
}

const urlPassword = /([a-z][a-z0-9+.-]*:\/\/[^\s:@/?#]*):[^\s@/]*@/gi;
const queryPassword =
  /([?&][\w.-]{0,40}(?:passw|pwd|secret|token|credential|api_?key|signature)[\w.-]{0,40}=)[^&\s#"']*/gi;
const secretName = /passw|pwd|secret|token|credential|api_?key|access_?key|private_?key|encryption_?key/i;

/** Is a key of this name likely to hold something that must not be shown? */
export function isSecretName(name: string): boolean {
  return secretName.test(name);
}

export function withoutUrlPassword(url: string): string {
  return url
    .replace(urlPassword, '$1@')
    .replace(/([?&])(?:password|sslpassword)=[^&\s#]*&?/gi, '$1')
    .replace(/[?&]$/, '');
}

/** The document for people to see: passwords in addresses and plain values under secret-looking names are `***`. */
export function redacted(document: JsonValue, underSecretName = false): JsonValue {
  if (typeof document === 'string') {
    if (underSecretName) return '***';
    return document.replace(urlPassword, '$1:***@').replace(queryPassword, '$1***');
  }
  if (typeof document === 'number') return underSecretName ? '***' : document;
  if (document === null || typeof document !== 'object') return document;
  if (Array.isArray(document)) return document.map((item) => redacted(item, underSecretName));
  return Object.fromEntries(
    Object.entries(document).map(([key, value]) => {
      if (isReference(value)) return [key, value];
      return [key, redacted(value, underSecretName || isSecretName(key))];
    }),
  );
}

function isReference(value: JsonValue): boolean {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return false;
  const keys = Object.keys(value);
  return keys.length === 1 && (typeof value.file === 'string' || typeof value.env === 'string');
}

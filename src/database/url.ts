/**
 * A database URL that may name several hosts, as libpq reads it:
 * `postgres://user:password@db1:5432,db2/shop?sslmode=verify-full&sslrootcert=/etc/ca.pem`.
 * node-postgres takes one host, so the list is taken apart here and the selector (primary.ts) tries each.
 */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { HoldfastError } from '../support/errors.ts';

export interface DatabaseAddress {
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly user: string;
  readonly password: string | undefined;
  readonly database: string;
  readonly ssl: ConnectionOptions | false;
}

const sslModes = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

/** Throws DATABASE_URL_INVALID; the message never repeats the password. */
export function parseDatabaseUrl(url: string, environment: NodeJS.ProcessEnv = {}): DatabaseAddress {
  const match = /^postgres(?:ql)?:\/\/(?:([^@/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/.exec(url);
  if (!match) throw invalid('it does not start with postgres:// or is not a URL');
  const [, credentials = '', authority = '', path = '', search = ''] = match;
  // Whatever stands before the last @ may be part of a password: nothing of it is shown.
  if (authority.includes('@') || (match[1] === undefined && url.includes('@'))) {
    throw invalid('an @, / or ? in the user or password must be written as %40, %2F or %3F');
  }
  const colon = credentials.indexOf(':');
  const user = decode(colon < 0 ? credentials : credentials.slice(0, colon));
  const written = colon < 0 ? undefined : decode(credentials.slice(colon + 1));
  const password = written ?? environment.HOLDFAST_DATABASE_PASSWORD ?? environment.PGPASSWORD;
  const database = decode(path) || user;
  if (!database) throw invalid('it names no database');
  return {
    hosts: authority.split(',').map(parseHost),
    user: user || (environment.PGUSER ?? environment.USER ?? 'postgres'),
    password,
    database,
    ssl: parseSsl(new URLSearchParams(search)),
  };
}

/** The URL without its password, for messages and pages. */
export function withoutPassword(url: string): string {
  return url.replace(/^([^:/]*:\/\/[^:@/?]*):.*@/s, '$1:***@').replace(/([?&]password=)[^&]*/g, '$1***');
}

function parseHost(text: string): { host: string; port: number } {
  const match = /^(\[[^\]]+\]|[^:]*)(?::(\d+))?$/.exec(text);
  const port = Number(match?.[2] ?? 5432);
  if (!match || port < 1 || port > 65_535) throw invalid(`"${text}" is no host or host:port`);
  return { host: (match[1] ?? '').replace(/^\[|\]$/g, '') || '127.0.0.1', port };
}

function parseSsl(parameters: URLSearchParams): ConnectionOptions | false {
  const mode = parameters.get('sslmode') ?? (parameters.has('sslrootcert') ? 'verify-full' : 'disable');
  if (!sslModes.some((known) => known === mode)) {
    throw invalid(`sslmode "${mode}" is not one of ${sslModes.join(', ')}`);
  }
  if (mode === 'disable' || mode === 'prefer') return false;
  const file = (name: string): Buffer | undefined => {
    const path = parameters.get(name);
    if (!path) return undefined;
    try {
      return readFileSync(path);
    } catch (cause) {
      throw new HoldfastError('DATABASE_URL_INVALID', `${name}: ${path} cannot be read`, { cause });
    }
  };
  const [ca, cert, key] = [file('sslrootcert'), file('sslcert'), file('sslkey')];
  return {
    rejectUnauthorized: mode !== 'require',
    ...(mode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
    ...(ca ? { ca } : {}),
    ...(cert ? { cert } : {}),
    ...(key ? { key } : {}),
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('it has a % that is not followed by two hex digits');
  }
}

function invalid(why: string): HoldfastError {
  return new HoldfastError('DATABASE_URL_INVALID', `The database URL cannot be understood: ${why}.`, {
    remedy: 'Write it as postgres://user:password@host1:5432,host2/database?sslmode=verify-full',
  });
}

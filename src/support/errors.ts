/**
 * Every error that a user can cause or must act on is one class with a code from this registry. The code is
 * stable and documented in docs/errors.md (a test compares the two); the message says what happened and where;
 * the remedy says what to do. Anything else that reaches the top is a defect of Holdfast and shows its stack.
 */
export const errorCodes = {
  USAGE: 'The command line was not understood.',
  CONFIGURATION_INVALID: 'The configuration file has errors; each is listed with file, line and column.',
  CONFIGURATION_MISSING: 'No configuration file was found, or it cannot be read.',
  CONFIGURATION_EXISTS: '`init` does not overwrite a configuration file that is already there.',
  SECRET_UNAVAILABLE: 'A secret reference (file or environment variable) cannot be resolved on this host.',
  DATABASE_URL_INVALID: 'The database URL cannot be understood.',
  ARBITER_UNAVAILABLE: 'No writable primary answered within the deadline.',
  ARBITER_REFUSED: 'The arbiter answered and refused: wrong password, missing rights, missing database.',
  SCHEMA_NEWER: 'The arbiter was migrated by a newer Holdfast; this one refuses to work on it.',
  CLUSTER_MISMATCH: 'The arbiter already belongs to a cluster of another name.',
  INSTANCE_UNKNOWN: 'The configuration names no such instance.',
  EVENT_UNKNOWN: 'The cluster has no such scheduled event.',
  INSTANCE_HELD: 'Another live agent holds this instance name.',
  REVISION_MISSING: 'The arbiter holds no configuration yet.',
  ALREADY_RUNNING: 'Another `holdfast up` runs in this folder.',
  NOT_RUNNING: 'Nothing runs here that the command could ask.',
  EMBEDDED_POSTGRES: 'The embedded PostgreSQL could not be installed or started.',
  COMMAND_FAILED: 'The application command cannot be started.',
  RUNTIME_UNREACHABLE: 'The admin port of a Mendix runtime does not answer, or something else answers there.',
  RUNTIME_REFUSED: 'A Mendix runtime answered an administrative action with an error.',
  RUNTIME_MISSING: 'The Mendix application or the runtime that it needs is not installed where it should be.',
  MENDIX_CONFIGURATION_INVALID: 'An m2ee.yaml cannot be read, or cannot be turned into a configuration.',
  LISTEN_FAILED: 'An address to listen on is taken or not allowed.',
  CERTIFICATE_INVALID: 'A TLS certificate or its key cannot be used.',
  SESSION_UNAVAILABLE: 'A session can be neither read nor proved current while the arbiter is away.',
  SESSION_READ_ONLY: 'A session was changed while the arbiter is away and the policy is readonly.',
  SESSION_INVALID: 'A session value cannot be stored.',
} as const;

export type ErrorCode = keyof typeof errorCodes;

export class HoldfastError extends Error {
  override readonly name = 'HoldfastError';
  readonly code: ErrorCode;
  readonly remedy: string | undefined;

  constructor(code: ErrorCode, message: string, options: { remedy?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy;
  }

  /** 2 for a mistake in how Holdfast was called, 1 for everything that was found or failed. */
  get exitCode(): 1 | 2 {
    return this.code === 'USAGE' ? 2 : 1;
  }
}

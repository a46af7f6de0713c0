/**
 * The probe: a few questions that `holdfast doctor` asks an application, because nobody else can answer them. Does
 * a session that began on one instance exist on another? Whose address does the application see? Does a file that
 * was written here appear there?
 *
 * The contract is small enough for any language: `POST /holdfast/probe?do=VERB`, without a body, with a bearer
 * secret; the answer is JSON. The secret is one for the whole cluster, made from the cluster's sticky key, which
 * nobody can compute back: agents put it into the environment of their instances, the doctor derives it again.
 */
import { createHmac } from 'node:crypto';

export const defaultProbePath = '/holdfast/probe';

/** In the environment of every instance. */
export const probeSecretVariable = 'HOLDFAST_PROBE_SECRET';

export const probeVerbs = ['look', 'try', 'remember', 'forget', 'write', 'read', 'remove'] as const;
export type ProbeVerb = (typeof probeVerbs)[number];

export function probeSecret(stickyKey: string): string {
  return createHmac('sha256', Buffer.from(stickyKey, 'base64url'))
    .update('holdfast probe')
    .digest('base64url');
}

/**
 * How two instances are compared without either value being told: the doctor draws a new key for every examination,
 * so that not even a short value could be looked up in a table made beforehand.
 */
export function settingDigest(key: string, value: string): string {
  return createHmac('sha256', key).update(value).digest('base64url').slice(0, 22);
}

/** The answer to `look`. What the application did not tell its probe is null. */
export interface ProbeLook {
  readonly instance: string | null;
  /** The address of the application as it writes it into links and mails. */
  readonly rootUrl: string | null;
  /** The client's address as the application believes it. */
  readonly client: string | null;
  /** Every header that claims to know the client, as it arrived. */
  readonly claims: Readonly<Record<string, string>>;
  /** False: the application keeps no sessions, or its probe is mounted where they are not seen. */
  readonly hasSessions: boolean;
  /** What `remember` put into the session that this request belongs to. */
  readonly mark: string | null;
  /** Digests of the variables that were asked for and of the application's own settings. */
  readonly settings: Readonly<Record<string, string>>;
  /** Events whose work is on what belongs to one instance alone, so that each must do it. */
  readonly ownWork: readonly string[] | null;
  /** The application's clock. */
  readonly nowMs: number | null;
  /** Of the process; null where the system does not say. */
  readonly openFiles: OpenFiles | null;
  readonly files: FileSystem | null;
}

export interface OpenFiles {
  readonly open: number;
  readonly limit: number;
}

/** The file system on which the application's shared files are. */
export interface FileSystem {
  readonly directory: string;
  /** The magic number of statfs(2); 0 where the system has none. */
  readonly type: number;
  readonly device: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** The answer to `try`: what takes longer than a look. */
export interface ProbeTry {
  readonly database: { readonly tookMs: number; readonly error: string | null } | null;
  /** What the health check would answer without the database; `why`, where that is as it should be. */
  readonly healthWithoutDatabase: { readonly status: number; readonly why: string | null } | null;
}

const marks = /^[0-9a-f]{8,64}$/;

/** Marks and file names are made of these characters only, so that neither can be anything else in disguise. */
export const isProbeMark = (text: string | null): text is string => text !== null && marks.test(text);

type Told = Readonly<Record<string, unknown>>;

/** An answer to `look` by whatever wrote it: what is missing, or is something else, is not told. */
export function readLook(told: Told): ProbeLook {
  const files = fieldsOf(told.files);
  const openFiles = fieldsOf(told.openFiles);
  const { ownWork, hasSessions } = told;
  return {
    instance: textOf(told.instance),
    rootUrl: textOf(told.rootUrl),
    client: textOf(told.client),
    claims: textsOf(told.claims),
    hasSessions: hasSessions === true,
    mark: textOf(told.mark),
    settings: textsOf(told.settings),
    ownWork: Array.isArray(ownWork) ? ownWork.filter((name) => typeof name === 'string') : null,
    nowMs: numberOf(told.nowMs),
    openFiles: openFiles && { open: numberOf(openFiles.open) ?? 0, limit: numberOf(openFiles.limit) ?? 0 },
    files: files && {
      directory: textOf(files.directory) ?? '?',
      type: numberOf(files.type) ?? 0,
      device: numberOf(files.device) ?? 0,
      freeBytes: numberOf(files.freeBytes) ?? 0,
      totalBytes: numberOf(files.totalBytes) ?? 0,
    },
  };
}

export function readTry(told: Told): ProbeTry {
  const database = fieldsOf(told.database);
  const health = fieldsOf(told.healthWithoutDatabase);
  return {
    database: database && { tookMs: numberOf(database.tookMs) ?? 0, error: textOf(database.error) },
    healthWithoutDatabase: health && { status: numberOf(health.status) ?? 0, why: textOf(health.why) },
  };
}

const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);

const numberOf = (value: unknown): number | null =>
  typeof value === 'number' && Number.isFinite(value) ? value : null;

const fieldsOf = (value: unknown): Told | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;

const textsOf = (value: unknown): Record<string, string> =>
  Object.fromEntries(
    Object.entries(fieldsOf(value) ?? {}).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );

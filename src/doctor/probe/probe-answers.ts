/** What the probe answers, whatever framework the question came through. Who lacks the secret learns nothing. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { claimNames } from '../../protocol/forwarded.ts';
import {
  isProbeMark,
  type OpenFiles,
  type ProbeLook,
  type ProbeTry,
  type ProbeVerb,
  probeVerbs,
  settingDigest,
} from '../../protocol/probe.ts';
import { directoryFiles, fileSystemOf } from './probe-files.ts';
import type { ProbeRequest, ResolvedProbe } from './probe-options.ts';
import { forget, hasSessions, markOf, remember } from './probe-session.ts';

export interface ProbeAnswer {
  readonly status: number;
  readonly body: object;
}

const refused = (status: number, error: string): ProbeAnswer => ({ status, body: { error } });

export async function answerProbe(
  probe: ResolvedProbe,
  request: ProbeRequest,
  query: URLSearchParams,
): Promise<ProbeAnswer> {
  if (probe.secret === undefined) {
    return refused(
      503,
      'this application was not started by a Holdfast agent: HOLDFAST_PROBE_SECRET is not set',
    );
  }
  if (!carriesSecret(request, probe.secret)) return refused(403, 'only the doctor of this cluster may ask');
  const verb = probeVerbs.find((known) => known === query.get('do'));
  if (verb === undefined) return refused(400, `do= must be one of ${probeVerbs.join(', ')}`);
  try {
    return await answers[verb](probe, request, query);
  } catch (error) {
    return refused(500, (error as Error).message);
  }
}

type Answer = (probe: ResolvedProbe, request: ProbeRequest, query: URLSearchParams) => Promise<ProbeAnswer>;

const answers: Readonly<Record<ProbeVerb, Answer>> = {
  look: async (probe, request, query) => ({ status: 200, body: await look(probe, request, query) }),
  try: async ({ options }) => ({ status: 200, body: await tryOut(options) }),
  async remember(_probe, request, query) {
    const mark = query.get('mark');
    if (!isProbeMark(mark)) return badMark;
    if (!hasSessions(request)) return noSessions;
    await remember(request, mark);
    return { status: 200, body: {} };
  },
  async forget(_probe, request) {
    await forget(request);
    return { status: 200, body: {} };
  },
  write: (probe, _request, query) =>
    onFile(probe, query, (files, mark) => files.write(mark, contentOf(mark))),
  remove: (probe, _request, query) => onFile(probe, query, (files, mark) => files.remove(mark)),
  read: (probe, _request, query) =>
    onFile(probe, query, async (files, mark) => {
      const content = await files.read(mark);
      return { found: content !== undefined, whole: content === contentOf(mark) };
    }),
};

const badMark = refused(400, 'mark= must be 8 to 64 hexadecimal digits');
const noSessions = refused(501, 'no session is seen where the probe is mounted');

/** More than one packet and one disk block, and known to whoever knows the name. */
const contentOf = (mark: string): string => `${mark}\n`.repeat(500);

async function onFile(
  probe: ResolvedProbe,
  query: URLSearchParams,
  work: (files: ReturnType<typeof directoryFiles>, mark: string) => Promise<unknown>,
): Promise<ProbeAnswer> {
  const mark = query.get('mark');
  if (!isProbeMark(mark)) return badMark;
  if (probe.files === undefined) return refused(501, 'the probe was told of no shared files');
  const files = typeof probe.files === 'string' ? directoryFiles(probe.files) : probe.files;
  return { status: 200, body: { ...((await work(files, mark)) as object | undefined) } };
}

async function look(probe: ResolvedProbe, request: ProbeRequest, query: URLSearchParams): Promise<ProbeLook> {
  const { options } = probe;
  return {
    instance: probe.instance ?? null,
    rootUrl: probe.rootUrl() ?? null,
    client: request.ip ?? request.socket.remoteAddress ?? null,
    claims: claimsOf(request),
    hasSessions: hasSessions(request),
    mark: markOf(request),
    settings: settingsOf(probe, query),
    ownWork: options.ownWork ?? null,
    nowMs: Date.now(),
    openFiles: openFiles(),
    files: typeof probe.files === 'string' ? await fileSystemOf(probe.files) : null,
  };
}

function claimsOf({ headers }: ProbeRequest): Record<string, string> {
  const isClaim = (name: string) => name.startsWith('x-forwarded-') || claimNames.includes(name);
  return Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => isClaim(name))
      .map(([name, value]) => [name, String(value)]),
  );
}

/** Variables by `name=`, each with the key of this examination; a variable that is not set has a digest too. */
function settingsOf({ environment, options }: ProbeOptionsAndEnvironment, query: URLSearchParams) {
  const key = query.get('key') ?? '';
  const variables = query.getAll('name').map((name) => [name, environment[name] ?? '\0not set'] as const);
  const own = Object.entries(options.settings?.() ?? {}).map(
    ([name, value]) => [`application: ${name}`, String(value)] as const,
  );
  return Object.fromEntries([...variables, ...own].map(([name, value]) => [name, settingDigest(key, value)]));
}

type ProbeOptionsAndEnvironment = Pick<ResolvedProbe, 'environment' | 'options'>;

async function tryOut({ database, healthWithoutDatabase }: ResolvedProbe['options']): Promise<ProbeTry> {
  const startedMs = performance.now();
  const error = await database?.().then(
    () => null,
    (reason: Error) => reason.message,
  );
  const tookMs = Math.round((performance.now() - startedMs) * 10) / 10;
  const health = await healthWithoutDatabase?.();
  return {
    database: error === undefined ? null : { tookMs, error },
    healthWithoutDatabase: health ? { status: health.status, why: health.why ?? null } : null,
  };
}

/** As Linux tells a process of itself; elsewhere null. */
function openFiles(): OpenFiles | null {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return limit === undefined ? null : { open: readdirSync('/proc/self/fd').length, limit: Number(limit) };
  } catch {
    return null;
  }
}

/** Compares digests, so that neither content nor length of the secret shows in the time it takes. */
function carriesSecret({ headers }: ProbeRequest, secret: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(headers.authorization ?? ''), digest(`Bearer ${secret}`));
}

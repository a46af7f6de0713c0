/**
 * A differential fuzz of the way from a client to an instance: hostile requests go to the embedded engine, to HAProxy,
 * to nginx and to Node's own HTTP server, and what each of them understood is compared. Smuggling needs two servers
 * that read the same bytes differently; so what any of them refuses, the engine must refuse as well, and what it passes
 * on, all must have understood in the same way.
 */
import { writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { Disagreement, Rule } from './fuzz-comparison.ts';
import { Readers, type Suspect, type Tally } from './fuzz-readers.ts';
import { shrink } from './fuzz-shrinking.ts';
import { type PeerName, peerNames, versionOf } from './fuzz-targets.ts';
import { hostileRequest } from './hostile-requests.ts';

export interface FuzzOptions {
  /** 200,000 if left out. */
  readonly requests?: number;
  /** 1 if left out. */
  readonly seed?: number;
  /** Left out: those that are installed. */
  readonly peers?: readonly PeerName[];
  /** Requests under way at a time. */
  readonly lanes?: number;
  readonly onProgress?: (done: number, suspects: number) => void;
}

export interface Counterexample {
  /** Left out: seen without a peer. */
  readonly peer?: PeerName;
  readonly rule: Rule;
  readonly detail: string;
  /** As small as it became, as a text of JSON; the request that stands behind it is not in it. */
  readonly request: string;
  /** `hostileRequest(seed, index)` makes the one that it comes from. */
  readonly index: number;
  readonly changes: readonly string[];
  /** How many of the requests showed the same, with the same peer, after the same kinds of change. */
  readonly alike: number;
}

export interface FuzzResult extends Tally {
  readonly seed: number;
  readonly requests: number;
  readonly seconds: number;
  /** Versions by name. */
  readonly peers: Readonly<Record<string, string>>;
  /**
   * Suspicions that did not show again, alone or behind what went before: a machine that was so busy for a moment that
   * an answer came late, and was taken for that of the next request.
   */
  readonly unconfirmed: number;
  readonly counterexamples: readonly Counterexample[];
  /** In sentences; none: all is well. */
  readonly problems: readonly string[];
}

const shrinkWithinMs = 15_000;
const examineWithinMs = 120_000;
const mostCounterexamples = 20;

export async function runFuzz(options: FuzzOptions = {}): Promise<FuzzResult> {
  const { requests = 200_000, seed = 1, lanes = 32, onProgress } = options;
  const startMs = performance.now();
  const peers = options.peers ?? peerNames.filter((name) => versionOf(name) !== undefined);
  const readers = await Readers.start(peers, lanes);
  try {
    const suspects = await generate(readers, requests, seed, onProgress);
    const { counterexamples, unconfirmed } = await examine(readers, suspects);
    return {
      seed,
      requests,
      seconds: (performance.now() - startMs) / 1_000,
      peers: readers.versions(),
      ...readers.tally,
      unconfirmed,
      counterexamples,
      problems: [...readers.lastWords(), ...counterexamples.map(sentenceOf)],
    };
  } finally {
    await readers.close();
  }
}

/** Every lane sends one request after the other. */
async function generate(
  readers: Readers,
  requests: number,
  seed: number,
  onProgress: FuzzOptions['onProgress'],
): Promise<Suspect[]> {
  const suspects: Suspect[] = [];
  let begun = 0;
  let done = 0;
  const work = async (lane: number) => {
    while (begun < requests) {
      suspects.push(...(await readers.suspects(hostileRequest(seed, begun++), lane)));
      if (++done % 1_000 === 0) onProgress?.(done, suspects.length);
    }
  };
  await Promise.all(Array.from({ length: readers.lanes }, (_, lane) => work(lane)));
  return suspects;
}

const lengthOf = ({ request }: Suspect): number => request.pieces.join('').length;

/** Suspects of one kind are probably one fault: the shortest that shows it again, alone, is shrunk, and stands for all. */
async function examine(
  readers: Readers,
  suspects: readonly Suspect[],
): Promise<{ counterexamples: Counterexample[]; unconfirmed: number }> {
  const kinds = Map.groupBy(
    suspects.toSorted((one, other) => lengthOf(one) - lengthOf(other)),
    ({ peer, disagreement, request }) =>
      `${peer} / ${disagreement.rule} / ${[...new Set(request.changes)].sort().join(', ')}`,
  );
  const found = new Map<string, Counterexample>();
  const limitMs = performance.now() + examineWithinMs;
  let unconfirmed = 0;
  for (const kind of kinds.values()) {
    if (found.size >= mostCounterexamples || performance.now() > limitMs) break;
    const counterexample = await firstConfirmed(readers, kind);
    if (counterexample === undefined) unconfirmed += kind.length;
    else {
      const { peer, rule, request } = counterexample;
      const same = `${peer} / ${rule} / ${request}`;
      const alike = counterexample.alike + (found.get(same)?.alike ?? 0);
      found.set(same, { ...counterexample, alike });
    }
  }
  return { counterexamples: [...found.values()], unconfirmed };
}

async function firstConfirmed(
  readers: Readers,
  kind: readonly Suspect[],
): Promise<Counterexample | undefined> {
  for (const suspect of kind.slice(0, 3)) {
    const confirmed = (await shrunken(readers, suspect)) ?? (await inCompany(readers, suspect));
    if (confirmed) return { ...confirmed, alike: kind.length };
  }
  return undefined;
}

/** A connection to an instance is shared: what one request left behind on it is seen with the next one only. */
async function inCompany(readers: Readers, suspect: Suspect): Promise<Counterexample | undefined> {
  const confirmed = await readers.behindOthers(suspect);
  if (confirmed === undefined) return undefined;
  const others = suspect.before.map(({ pieces }) => JSON.stringify(pieces.join(''))).join(', then ');
  const detail = `${confirmed.detail}; behind ${others}`;
  return counterexampleOf(suspect, { ...confirmed, detail }, suspect.request.pieces.join(''));
}

function counterexampleOf(
  { peer, request }: Suspect,
  { rule, detail }: Disagreement,
  shown: string,
): Counterexample {
  const { index, changes } = request;
  return { ...(peer && { peer }), rule, detail, request: JSON.stringify(shown), index, changes, alike: 1 };
}

async function shrunken(readers: Readers, suspect: Suspect): Promise<Counterexample | undefined> {
  const { request } = suspect;
  const whole = request.pieces.join('');
  const confirmed = await readers.again(whole, suspect, 'alone');
  if (confirmed === undefined) return undefined;
  const isSame = (one: typeof confirmed | undefined) =>
    one?.rule === confirmed.rule && one.index === confirmed.index;
  const { bytes } = await shrink(request.pieces, {
    stillFails: async (text) => isSame(await readers.again(text, suspect, 'shrinking')),
    nowMs: () => performance.now(),
    // An ordinary request that becomes shorter is no ordinary one any more.
    withinMs: request.changes.length === 0 ? 0 : shrinkWithinMs,
  });
  const last = await readers.again(bytes, suspect, 'alone');
  return last && isSame(last)
    ? counterexampleOf(suspect, last, bytes)
    : counterexampleOf(suspect, confirmed, whole);
}

function sentenceOf({ peer, rule, detail, request, index, alike }: Counterexample): string {
  const who = peer === undefined ? 'The engine' : `Unlike ${peer}, the engine`;
  return `${who}: ${rule} (${detail}). The request: ${request} (number ${index}; ${alike} alike)`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      requests: { type: 'string', default: '200000' },
      seed: { type: 'string', default: '1' },
      json: { type: 'string' },
    },
  });
  const { counterexamples, problems, ...figures } = await runFuzz({
    requests: Number(values.requests),
    seed: Number(values.seed),
    onProgress: (done, suspects) => {
      if (done % 10_000 === 0) console.error(`${done} requests, ${suspects} suspicions`);
    },
  });
  if (values.json)
    await writeFile(values.json, `${JSON.stringify({ ...figures, counterexamples, problems }, null, 2)}\n`);
  console.log(figures);
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length > 0 ? 1 : 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main();

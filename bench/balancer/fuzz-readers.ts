/** The engine and its peers as one: a request goes to all of them, and what comes back is where they disagree. */
import { setTimeout as delay } from 'node:timers/promises';
import { converse } from './fuzz-client.ts';
import { compare, type Disagreement, judge, type Outcome } from './fuzz-comparison.ts';
import { knownDifference } from './fuzz-known-differences.ts';
import { type PeerName, startTarget, type Target } from './fuzz-targets.ts';
import { type HostileRequest, sentinel } from './hostile-requests.ts';

export interface Suspect {
  /** Left out: seen without a peer. */
  readonly peer?: PeerName;
  readonly disagreement: Disagreement;
  readonly request: HostileRequest;
  /** What went over the same lane just before: it may have left something behind. */
  readonly before: readonly HostileRequest[];
}

export interface Tally {
  /** How the engine took the requests. */
  readonly ours: Record<Outcome['end'], number>;
  /** Requests that some peers passed on whole and others refused: those that a smuggler looks for. */
  ambiguous: number;
  /** Requests that the engine refused although every peer passed them on. */
  stricterThanAll: number;
  /** Known differences that were met, by name. */
  readonly known: Record<string, number>;
}

/** Alone, a server may take its time before it counts as waiting for more. */
const quietMs = { inCrowd: 400, shrinking: 200, alone: 700 };
/** What an engine still has to say to its instance when its client has been answered. */
const settleMs = 5;
const remembered = 3;

export class Readers {
  readonly tally: Tally = {
    ours: { finished: 0, refused: 0, closed: 0, waiting: 0 },
    ambiguous: 0,
    stricterThanAll: 0,
    known: {},
  };
  readonly lanes: number;
  readonly #ours: Target;
  readonly #peers: readonly Target[];
  readonly #history: HostileRequest[][];
  #lane = 0;

  private constructor(lanes: number, ours: Target, peers: readonly Target[]) {
    this.lanes = lanes;
    this.#ours = ours;
    this.#peers = peers;
    this.#history = Array.from({ length: lanes }, () => []);
  }

  static async start(peers: readonly PeerName[], lanes: number): Promise<Readers> {
    const started: Target[] = [];
    try {
      const ours = await startTarget('holdfast', lanes);
      started.push(ours);
      for (const name of peers) started.push(await startTarget(name, lanes));
      return new Readers(lanes, ours, started.slice(1));
    } catch (error) {
      await Promise.all(started.map((target) => target.close()));
      throw error;
    }
  }

  /** Of the peers, by name. */
  versions(): Record<string, string> {
    return Object.fromEntries(this.#peers.map(({ name, version }) => [name, version]));
  }

  /** What those said that have ended although nobody asked them to. */
  lastWords(): string[] {
    return [this.#ours, ...this.#peers].flatMap((target) => {
      const words = target.lastWords();
      return words === undefined ? [] : [`${target.name} ended: ${words}`];
    });
  }

  /** Sends one request to everybody. */
  async suspects(request: HostileRequest, lane: number): Promise<Suspect[]> {
    const sent = request.pieces.join('') + sentinel;
    const outcome = (target: Target) => outcomeOf(target, lane, sent, request.cuts, quietMs.inCrowd);
    const [ours, ...theirs] = await Promise.all([outcome(this.#ours), ...this.#peers.map(outcome)]);
    this.#count(ours, theirs);
    const own = judge(ours, request.changes.length === 0);
    const history = this.#history[lane] as HostileRequest[];
    const before = [...history];
    const found: Suspect[] = own ? [{ disagreement: own, request, before }] : [];
    for (const [index, { name }] of this.#peers.entries()) {
      const peer = name as PeerName;
      const disagreement = this.#disagreement(peer, ours, theirs[index] as Outcome, sent, this.tally.known);
      if (disagreement) found.push({ peer, disagreement, request, before });
    }
    if (history.push(request) > remembered) history.shift();
    return found;
  }

  #count(ours: Outcome, theirs: readonly Outcome[]): void {
    this.tally.ours[ours.end]++;
    const passedOn = theirs.filter(({ end }) => end === 'finished').length;
    const refused = theirs.filter(({ end }) => end === 'refused').length;
    if (passedOn > 0 && refused > 0) this.tally.ambiguous++;
    if (passedOn === theirs.length && ours.end === 'refused') this.tally.stricterThanAll++;
  }

  #disagreement(
    peer: PeerName,
    ours: Outcome,
    theirs: Outcome,
    sent: string,
    known: Record<string, number>,
  ): Disagreement | undefined {
    const disagreement = compare(ours, theirs, sent);
    const difference = disagreement && knownDifference(peer, disagreement, { sent, ours, theirs });
    if (difference === undefined) return disagreement;
    known[difference.name] = (known[difference.name] ?? 0) + 1;
    return undefined;
  }

  /** Sends the text to the engine and the peer of a suspicion, alone: is it still there? */
  again(text: string, suspect: Suspect, patience: 'alone' | 'shrinking'): Promise<Disagreement | undefined> {
    return this.#replay([], text, suspect, patience);
  }

  /** The same for the whole request, behind what went before it. */
  behindOthers(suspect: Suspect): Promise<Disagreement | undefined> {
    return this.#replay(suspect.before, suspect.request.pieces.join(''), suspect, 'alone');
  }

  async #replay(
    before: readonly HostileRequest[],
    text: string,
    { peer, request }: Suspect,
    patience: 'alone' | 'shrinking',
  ): Promise<Disagreement | undefined> {
    const sent = text + sentinel;
    // Each time another lane: what an earlier trial left behind is not taken for this one's.
    this.#lane = (this.#lane + 1) % this.lanes;
    const outcome = async (target: Target) => {
      for (const { pieces, cuts } of before)
        await outcomeOf(target, this.#lane, pieces.join('') + sentinel, cuts, quietMs.alone);
      return outcomeOf(target, this.#lane, sent, request.cuts, quietMs[patience], settleMs);
    };
    const target = this.#peers.find(({ name }) => name === peer);
    if (peer === undefined || target === undefined)
      return judge(await outcome(this.#ours), request.changes.length === 0);
    const [ours, theirs] = await Promise.all([outcome(this.#ours), outcome(target)]);
    return this.#disagreement(peer, ours, theirs, sent, {});
  }

  async close(): Promise<void> {
    await Promise.all([this.#ours, ...this.#peers].map((target) => target.close()));
  }
}

async function outcomeOf(
  target: Target,
  lane: number,
  sent: string,
  cuts: readonly number[],
  quiet: number,
  settle = 0,
): Promise<Outcome> {
  target.begin(lane);
  const conversation = await converse({
    port: target.port(lane),
    bytes: Buffer.from(sent, 'latin1'),
    // Only the engine is ours to test in pieces; the others get one write.
    cuts: target.name === 'holdfast' ? cuts : [],
    quietMs: quiet,
  });
  if (settle > 0) await delay(settle);
  return { ...conversation, ...target.recorded(lane) };
}

/**
 * Load, save, touch and destroy, by themselves: no framework in sight. What a request read is a `Snapshot` that
 * the caller keeps and hands back when it saves; nothing here knows which request is which.
 */
import { randomUUID } from 'node:crypto';
import { type SessionDelta, sessionDelta } from '../protocol/session-merge.ts';
import { type ArbiterWatch, isUnavailable, watchArbiter } from './arbiter-watch.ts';
import type { CoreCounters, CoreOptions } from './core-options.ts';
import { type DeferredSaves, type DeferredSession, openDeferredSaves } from './deferred-saves.ts';
import { type SaveJob, type SaveOutcome, writeDelta } from './delta-writer.ts';
import { listenForRevocations, type Revocations } from './revocations.ts';
import { type CachedSession, openSessionCache, type SessionCache } from './session-cache.ts';
import { hashSessionId } from './session-codec.ts';
import { asAnswer, readOnly, unavailable } from './session-errors.ts';
import {
  destroySessions,
  type LoadedRow,
  loadSession,
  type Touch,
  touchSessions,
} from './session-statements.ts';
import { idleMsOf, sessionObject, textsOf } from './session-values.ts';
import { endedSnapshot, giveMerged, type Snapshot, snapshotAfter } from './snapshot.ts';
import { openTouchBatch, type TouchBatch, touchIntervalMs } from './touch-batch.ts';
import { isNewer, type StatedVersion, sameTag } from './version-cookie.ts';

export interface Loaded {
  readonly session: Record<string, unknown>;
  readonly snapshot: Snapshot;
}

const settleWithinMs = 2_500;

export class SessionCore {
  readonly counters: CoreCounters = {
    hits: 0,
    servedWhileAway: 0,
    loads: 0,
    saves: 0,
    conflicts: 0,
    touchBatches: 0,
  };
  readonly cache: SessionCache;
  readonly deferred: DeferredSaves;
  readonly touches: TouchBatch;
  readonly revocations: Revocations;
  readonly #options: CoreOptions;
  readonly #watch: ArbiterWatch;
  readonly #asking = new Map<string, Promise<CachedSession | undefined>>();

  constructor(options: CoreOptions) {
    this.#options = options;
    this.cache = openSessionCache(options.cacheEntries);
    this.#watch = watchArbiter({
      arbiter: options.arbiter,
      clock: options.clock,
      log: options.log,
      lastHeardMs: () => this.revocations.lastHeardMs(),
      onReturn: () => void this.#settle(),
    });
    this.touches = openTouchBatch(options.clock, (touches) => this.#writeTouches(touches));
    this.deferred = openDeferredSaves({
      merge: options.merge,
      log: options.log,
      write: (job) => this.#write(job),
      destroy: (idHash) => this.ask(() => destroySessions(options.arbiter, [idHash])),
    });
    this.revocations = listenForRevocations(options.arbiter, options.clock, this.cache);
  }

  isAway(): boolean {
    return this.#watch.isAway();
  }

  /** Every question goes through here; it rejects at once while the arbiter is known to be away. */
  ask<T>(question: () => Promise<T>): Promise<T> {
    return this.#watch.ask(async () => {
      await this.#options.prepare();
      return question();
    });
  }

  /** The session, or undefined where there is none. Not a promise when a proved copy is at hand. */
  load(id: string, stated: StatedVersion | undefined): Loaded | undefined | Promise<Loaded | undefined> {
    const idHash = hashSessionId(id);
    if (this.isAway()) return this.#serveAway(idHash, stated, undefined);
    if (this.deferred.get(idHash)) return this.#loadAfterDrain(idHash, stated);
    const copy = this.cache.get(idHash);
    if (copy && stated && proves(stated, copy) && this.#isAlive(copy) && this.revocations.areHeard()) {
      this.counters.hits++;
      return this.#loaded(copy);
    }
    return this.#loadFromArbiter(idHash, stated);
  }

  /** What the request changed, or undefined if nothing. Throws SESSION_INVALID. */
  changes(session: object, snapshot: Snapshot | undefined): SessionDelta | undefined {
    const delta = sessionDelta(snapshot?.view ?? new Map(), textsOf(session, snapshot?.view));
    return snapshot && delta.size === 0 ? undefined : delta;
  }

  /**
   * Saves what changed since the snapshot and returns the next one. Where the merge ended in another value than
   * the request's own, the session object gets it too. A save that no cookie will tell of is notified instead.
   */
  async save(
    id: string,
    session: object,
    snapshot: Snapshot | undefined,
    toldByCookie: boolean,
  ): Promise<Snapshot> {
    if (snapshot?.ended) return snapshot;
    const { clock, userOf } = this.#options;
    const idHash = hashSessionId(id);
    const texts = textsOf(session, snapshot?.view);
    const delta = sessionDelta(snapshot?.view ?? new Map(), texts);
    const user = userOf(session as Record<string, unknown>);
    const userBefore = snapshot && userOf(sessionObject(snapshot.view, 0));
    const job: SaveJob = {
      idHash,
      isNew: snapshot === undefined,
      delta,
      saveId: randomUUID(),
      known: snapshot?.complete ? { version: snapshot.tag.version, values: snapshot.view } : undefined,
      replacement: snapshot ? undefined : texts,
      // A request that did not change it may not know of a login meanwhile.
      user: snapshot && userBefore === user ? undefined : { id: user },
      notify: !toldByCookie,
      idleMs: idleMsOf(texts, this.#options.idleMs, clock.wallMs()),
    };
    this.counters.saves++;
    if (this.isAway()) return this.#saveAway(job, false, session, snapshot, texts);
    if (this.deferred.get(idHash)) await this.#drain().catch(() => undefined); // away again: seen below
    const sentMs = clock.monotonicMs();
    let outcome: SaveOutcome;
    try {
      outcome = await this.#write(job);
    } catch (error) {
      if (!isUnavailable(error)) throw asAnswer(error);
      return this.#saveAway(job, true, session, snapshot, texts, error);
    }
    if (outcome.kind === 'ended') return this.#ended(idHash, snapshot, outcome.why);
    if (!outcome.wrote) this.touches.add(idHash, job.idleMs);
    giveMerged(session, delta, outcome.values, this.#options.merge);
    return snapshotAfter(snapshot, texts, delta, outcome.values, {
      tag: { version: outcome.version, deferred: 0 },
      persistedDeadlineMs: sentMs + (outcome.wrote ? job.idleMs : 0),
      idleMs: job.idleMs,
    });
  }

  /** A promise only when the touch cannot wait for the batch. */
  touch(id: string, session: object, snapshot: Snapshot | undefined): Promise<void> | undefined {
    if (snapshot?.ended) return undefined;
    const { clock, idleMs: defaultIdleMs } = this.#options;
    const idHash = hashSessionId(id);
    const idleMs = snapshot?.idleMs ?? idleMsOf(textsOf(session, undefined), defaultIdleMs, clock.wallMs());
    const nowMs = clock.monotonicMs();
    const copy = this.cache.get(idHash);
    if (copy) copy.idleDeadlineMs = nowMs + idleMs;
    const pending = this.deferred.get(idHash);
    if (pending) pending.idleDeadlineMs = nowMs + idleMs;
    this.touches.add(idHash, idleMs);
    const persistedMs = Math.max(copy?.persistedDeadlineMs ?? 0, snapshot?.persistedDeadlineMs ?? 0);
    if (this.isAway() || persistedMs - nowMs >= 2 * touchIntervalMs(idleMs)) return undefined;
    return this.touches.flush().catch((error) => {
      if (!isUnavailable(error)) throw error; // away: it waits in memory
    });
  }

  async destroy(id: string): Promise<void> {
    const { arbiter, away } = this.#options;
    const idHash = hashSessionId(id);
    try {
      await this.ask(() => destroySessions(arbiter, [idHash]));
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      if (away !== 'defer') throw away === 'fail' ? unavailable(error) : readOnly(error);
      this.deferred.keepDestroyed(idHash);
    }
    this.cache.drop(idHash);
    this.touches.forget(idHash);
  }

  async close(): Promise<void> {
    this.#watch.hope(); // one real attempt: it may be back and nobody has noticed yet
    await this.touches.close().catch(() => undefined); // the arbiter is away: nothing more can be done
    await this.deferred.drain().catch(() => undefined); // as above, and said below
    if (this.deferred.size > 0) {
      this.#options.log.error(
        { sessions: this.deferred.size },
        'Deferred changes are lost: the arbiter is still away.',
      );
    }
    this.#watch.close();
    await this.revocations.close();
  }

  async #settle(): Promise<void> {
    try {
      await this.#drain();
      this.cache.clear(); // saves without an answer may have been applied
    } catch (error) {
      if (!isUnavailable(error)) this.#options.log.error({ error }, 'Deferred work could not be settled.');
    }
  }

  /** First the arbiter learns who was active, then what they did: else it takes their sessions for expired. */
  async #drain(): Promise<void> {
    if (this.deferred.size === 0 && this.touches.size === 0) return;
    await this.touches.flush();
    await this.deferred.drain();
  }

  async #loadAfterDrain(idHash: string, stated: StatedVersion | undefined): Promise<Loaded | undefined> {
    await this.#drain().catch(() => undefined); // away again: the load below finds out
    return this.#loadFromArbiter(idHash, stated);
  }

  async #loadFromArbiter(idHash: string, stated: StatedVersion | undefined): Promise<Loaded | undefined> {
    try {
      const copy = await this.#askTogether(idHash, stated);
      return copy && this.#loaded(copy);
    } catch (error) {
      if (isUnavailable(error)) return this.#serveAway(idHash, stated, error);
      throw asAnswer(error);
    }
  }

  /** Requests that bring the same cookie at the same time, as those of one page do, share one question. */
  #askTogether(idHash: string, stated: StatedVersion | undefined): Promise<CachedSession | undefined> {
    if (!stated) return this.#askArbiter(idHash, undefined);
    const key = `${idHash}.${stated.nonce}`;
    const asking = this.#asking.get(key);
    if (asking) return asking;
    const question = this.#askArbiter(idHash, stated).finally(() => this.#asking.delete(key));
    this.#asking.set(key, question);
    return question;
  }

  async #askArbiter(idHash: string, stated: StatedVersion | undefined): Promise<CachedSession | undefined> {
    const { clock, codec } = this.#options;
    const moment = this.cache.moment();
    const sentMs = clock.monotonicMs();
    this.counters.loads++;
    const row = await this.#loadSettled(idHash, stated);
    if (!row) return undefined;
    const tag = { version: row.version, deferred: 0 };
    const copy: CachedSession = {
      tag,
      confirmed: stated && sameTag(stated, tag) ? [stated.nonce] : [],
      values: codec.decode(idHash, row.data),
      idleMs: row.idleMs,
      idleDeadlineMs: sentMs + row.idleRemainingMs,
      persistedDeadlineMs: sentMs + row.idleRemainingMs,
      absoluteDeadlineMs: sentMs + row.absoluteRemainingMs,
    };
    this.cache.put(idHash, copy, moment);
    return copy;
  }

  /**
   * What the arbiter has. A tag that says `deferred` tells that another instance holds changes which the user has
   * already seen: they come as soon as that instance notices that the arbiter is back, or never if it has died.
   */
  async #loadSettled(idHash: string, tag: StatedVersion | undefined): Promise<LoadedRow | undefined> {
    const { arbiter, clock } = this.#options;
    const deadlineMs = clock.monotonicMs() + settleWithinMs;
    for (;;) {
      const row = await this.ask(() => loadSession(arbiter, idHash));
      const awaited = row && tag && tag.deferred > 0 && isNewer(tag, { version: row.version, deferred: 0 });
      if (!awaited || clock.monotonicMs() > deadlineMs) return row;
      await clock.sleep(100);
    }
  }

  /** By policy, from memory; never less than the user has already seen, and never nothing in silence. */
  #serveAway(idHash: string, tag: StatedVersion | undefined, cause: unknown): Loaded | undefined {
    const pending = this.deferred.get(idHash);
    if (pending?.destroyed) return undefined;
    const copy: CachedSession | DeferredSession | undefined = pending ?? this.cache.get(idHash);
    if (this.#options.away === 'fail' || !copy || !this.#isAlive(copy) || (tag && isNewer(tag, copy.tag))) {
      throw unavailable(cause);
    }
    this.counters.servedWhileAway++;
    return this.#loaded({ persistedDeadlineMs: copy.idleDeadlineMs, ...copy });
  }

  #saveAway(
    job: SaveJob,
    sent: boolean,
    session: object,
    snapshot: Snapshot | undefined,
    texts: ReadonlyMap<string, string>,
    cause?: unknown,
  ): Snapshot {
    const { away, clock, absoluteMs } = this.#options;
    if (away === 'fail') throw unavailable(cause);
    if (away === 'readonly') throw readOnly(cause);
    if (this.deferred.get(job.idHash)?.destroyed) return this.#ended(job.idHash, snapshot, 'destroyed');
    const nowMs = clock.monotonicMs();
    const copy = this.cache.get(job.idHash);
    const original = job.delta;
    const kept = this.deferred.keep(job, sent, {
      version: job.known?.version ?? copy?.tag.version ?? snapshot?.tag.version ?? 0,
      values: job.known?.values ?? copy?.values ?? snapshot?.view ?? new Map(),
      idleDeadlineMs: nowMs + job.idleMs,
      absoluteDeadlineMs: copy?.absoluteDeadlineMs ?? nowMs + absoluteMs,
    });
    this.touches.add(job.idHash, job.idleMs);
    giveMerged(session, original, kept.values, this.#options.merge);
    return {
      ...snapshotAfter(snapshot, texts, original, kept.values, {
        tag: kept.tag,
        persistedDeadlineMs: kept.idleDeadlineMs,
        idleMs: job.idleMs,
      }),
      complete: false,
    };
  }

  async #write(job: SaveJob): Promise<SaveOutcome> {
    const { arbiter, codec, merge, absoluteMs, instance, clock } = this.#options;
    const moment = this.cache.moment();
    const sentMs = clock.monotonicMs();
    const onConflict = () => void this.counters.conflicts++;
    const writer = { arbiter, codec, merge, absoluteMs, instance, onConflict };
    const outcome = await this.ask(() => writeDelta(writer, job));
    if (outcome.kind === 'saved' && outcome.wrote) {
      const copy: CachedSession = {
        tag: { version: outcome.version, deferred: 0 },
        confirmed: [],
        values: outcome.values,
        idleMs: job.idleMs,
        idleDeadlineMs: sentMs + job.idleMs,
        persistedDeadlineMs: sentMs + job.idleMs,
        absoluteDeadlineMs: sentMs + outcome.absoluteRemainingMs,
      };
      this.cache.put(job.idHash, copy, moment);
    }
    return outcome;
  }

  /** The answer carries the versions of today: a copy that is older, or ended, goes. */
  async #writeTouches(touches: readonly Touch[]): Promise<void> {
    const { arbiter, clock, instance } = this.#options;
    const sentMs = clock.monotonicMs();
    const versions = await this.ask(() => touchSessions(arbiter, touches, instance));
    this.counters.touchBatches++;
    for (const { idHash, ageMs, idleMs } of touches) {
      const copy = this.cache.get(idHash);
      if (!copy) continue;
      if (versions.get(idHash) === copy.tag.version) copy.persistedDeadlineMs = sentMs - ageMs + idleMs;
      else this.cache.drop(idHash);
    }
  }

  #loaded(copy: Omit<CachedSession, 'confirmed'>): Loaded {
    const { clock } = this.#options;
    const endsMs = Math.min(copy.idleDeadlineMs, copy.absoluteDeadlineMs);
    return {
      session: sessionObject(copy.values, clock.wallMs() + endsMs - clock.monotonicMs()),
      snapshot: {
        view: copy.values,
        tag: copy.tag,
        complete: copy.tag.deferred === 0,
        persistedDeadlineMs: copy.persistedDeadlineMs,
        idleMs: copy.idleMs,
        ended: false,
      },
    };
  }

  #ended(idHash: string, snapshot: Snapshot | undefined, why: string): Snapshot {
    this.cache.drop(idHash);
    this.#options.log.debug({ why }, 'A save found its session ended; nothing was written.');
    return endedSnapshot(snapshot);
  }

  #isAlive(copy: { readonly idleDeadlineMs: number; readonly absoluteDeadlineMs: number }): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    return nowMs < copy.idleDeadlineMs && nowMs < copy.absoluteDeadlineMs;
  }
}

function proves(stated: StatedVersion, copy: CachedSession): boolean {
  return sameTag(stated, copy.tag) && copy.confirmed.includes(stated.nonce);
}

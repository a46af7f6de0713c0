/**
 * The interface that express-session and @fastify/session expect of a store. Nothing is imported from either: the
 * classes that sessions are made of come with the first session that express-session generates.
 */
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { newRequestContext, requestContext } from './request-context.ts';
import { hashSessionId } from './session-codec.ts';
import type { Loaded, SessionCore } from './session-core.ts';
import type { Snapshot } from './snapshot.ts';
import { type StatedVersion, sameTag, type VersionSigner } from './version-cookie.ts';

type Callback<T = void> = (error?: unknown, result?: T) => void;

export interface SessionRecord {
  [key: string]: unknown;
}

/** A request as express-session's own Store sees it. */
export interface StoreRequest {
  sessionID?: string;
  session?: object;
}

const done: Callback = () => undefined;

export class SessionStore extends EventEmitter {
  /** Set by express-session: gives the request a new session under a new id. */
  declare generate: (request: StoreRequest) => void;
  readonly #core: SessionCore;
  readonly #signer: VersionSigner | undefined;
  readonly #snapshots = new WeakMap<object, Snapshot>();
  readonly #saving = new WeakMap<object, Promise<void>>();
  #classes: SessionClasses | undefined;

  constructor(core: SessionCore, signer?: VersionSigner) {
    super();
    this.#core = core;
    this.#signer = signer;
  }

  get(id: string, callback: Callback<SessionRecord | null>): void {
    let loading: Loaded | undefined | Promise<Loaded | undefined>;
    try {
      loading = this.#core.load(id, this.#stated(id));
    } catch (error) {
      callback(error);
      return;
    }
    if (loading instanceof Promise) {
      loading.then((loaded) => this.#deliver(id, loaded, callback), callback);
    } else {
      this.#deliver(id, loading, callback);
    }
  }

  /** Saves what changed since this request read the session. */
  set(id: string, session: object, callback: Callback = done): void {
    const running = this.#saving.get(session);
    if (running) {
      // Not awaited by the application: what changes until it is done is the next save.
      running.finally(() => this.set(id, session, callback));
      return;
    }
    const snapshot = this.snapshotOf(id, session);
    let changed: boolean;
    try {
      changed = !snapshot?.ended && this.#core.changes(session, snapshot) !== undefined;
    } catch (error) {
      callback(error);
      return;
    }
    if (!changed) {
      this.touch(id, session, callback);
      return;
    }
    const saving = this.#core
      .save(
        id,
        session,
        snapshot,
        this.#signer !== undefined && requestContext.getStore()?.headersMade === false,
      )
      .then((next) => this.remember(id, session, next))
      .finally(() => this.#saving.delete(session));
    this.#saving.set(
      session,
      saving.catch(() => undefined),
    ); // the callback gets the error
    saving.then(() => callback(), callback);
  }

  destroy(id: string, callback: Callback = done): void {
    this.#core.destroy(id).then(() => callback(), callback);
  }

  /** Says that the session was used; writes nothing else. Calls back at once unless it must not wait for the batch. */
  touch(id: string, session: object, callback: Callback = done): void {
    try {
      const waiting = this.#core.touch(id, session, this.snapshotOf(id, session));
      if (waiting) waiting.then(() => callback(), callback);
      else callback();
    } catch (error) {
      callback(error);
    }
  }

  /** Called by express-session with what `get` delivered. */
  createSession(request: StoreRequest, data: SessionRecord): object {
    const { Session, cookieOf } = this.#sessionClasses(request);
    data.cookie = cookieOf(data.cookie as SessionRecord);
    const session = new Session(request, data);
    request.session = session;
    const snapshot = this.#snapshots.get(data);
    if (snapshot) this.#snapshots.set(session, withoutHidden(snapshot, session));
    return session;
  }

  regenerate(request: StoreRequest, callback: Callback): void {
    const renew = (error?: unknown) => {
      if (!error) this.generate(request);
      callback(error);
    };
    const stored =
      request.session && request.sessionID && this.snapshotOf(request.sessionID, request.session);
    if (stored) this.destroy(request.sessionID as string, renew);
    else renew(); // never saved: there is nothing to destroy
  }

  load(id: string, callback: Callback<object>): void {
    this.get(id, (error, data) => {
      if (error || !data) callback(error);
      else callback(undefined, this.createSession({ sessionID: id, ...{ sessionStore: this } }, data));
    });
  }

  /** What this request knows of the session. */
  snapshotOf(id: string, session: object): Snapshot | undefined {
    return this.#snapshots.get(session) ?? requestContext.getStore()?.snapshots.get(id);
  }

  remember(id: string, session: object, snapshot: Snapshot): void {
    this.#snapshots.set(session, snapshot);
    requestContext.getStore()?.snapshots.set(id, snapshot);
  }

  /** Throws SESSION_INVALID. */
  hasChanges(id: string, session: object): boolean {
    return this.#core.changes(session, this.snapshotOf(id, session)) !== undefined;
  }

  /** The value of the version cookie for this response, if the user's states another version. */
  versionCookie(id: string, session: object): string | undefined {
    const snapshot = this.snapshotOf(id, session);
    if (!this.#signer || !snapshot || snapshot.ended) return undefined;
    const stated = this.#stated(id);
    if (stated && sameTag(stated, snapshot.tag)) return undefined;
    const nonce = randomBytes(8).toString('base64url');
    return this.#signer.sign(hashSessionId(id), { ...snapshot.tag, nonce });
  }

  #stated(id: string): StatedVersion | undefined {
    const cookie = requestContext.getStore()?.versionCookie;
    return cookie === undefined ? undefined : this.#signer?.verify(hashSessionId(id), cookie);
  }

  #deliver(id: string, loaded: Loaded | undefined, callback: Callback<SessionRecord | null>): void {
    if (!loaded) {
      callback(undefined, null);
      return;
    }
    this.#snapshots.set(loaded.session, loaded.snapshot);
    const context = requestContext.getStore();
    if (context) {
      context.snapshots.set(id, loaded.snapshot);
      callback(undefined, loaded.session);
    } else {
      // Used without our middleware: what follows from this callback is the request.
      const own = newRequestContext();
      own.headersMade = true;
      own.snapshots.set(id, loaded.snapshot);
      requestContext.run(own, () => callback(undefined, loaded.session));
    }
  }

  #sessionClasses(request: StoreRequest): SessionClasses {
    this.#classes ??= learnClasses(this.generate, request);
    return this.#classes;
  }
}

interface SessionClasses {
  readonly Session: new (request: StoreRequest, data: SessionRecord) => object;
  cookieOf(record: SessionRecord): object;
}

/** express-session keeps its classes to itself, but shows them in what it generates. */
function learnClasses(generate: (request: StoreRequest) => void, request: StoreRequest): SessionClasses {
  const { sessionID, session } = request;
  generate(request);
  const sample = request.session as { constructor: unknown; cookie: object };
  Object.assign(request, { sessionID, session });
  const cookiePrototype: object = Object.getPrototypeOf(sample.cookie);
  return {
    Session: sample.constructor as SessionClasses['Session'],
    cookieOf(record) {
      const { expires, originalMaxAge = null, ...settings } = record;
      const cookie = Object.assign(Object.create(cookiePrototype), { path: '/', httpOnly: true }, settings);
      cookie.expires = typeof expires === 'string' ? new Date(expires) : (expires ?? null);
      cookie.originalMaxAge = originalMaxAge; // after expires, whose setter would compute it
      return cookie;
    },
  };
}

/** Keys that the Session class hides behind its methods were not seen by the request, so it cannot remove them. */
function withoutHidden(snapshot: Snapshot, session: object): Snapshot {
  const view = new Map([...snapshot.view].filter(([key]) => Object.hasOwn(session, key)));
  return view.size === snapshot.view.size ? snapshot : { ...snapshot, view, complete: false };
}

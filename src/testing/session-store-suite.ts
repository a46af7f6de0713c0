/**
 * What a session store must do, as checks that run against any store with the interface of express-session: get,
 * set, destroy and touch. A store is given twice, as two instances of one application would have it.
 *
 * A request is a `get`, changes to the object that came back, and a `set` of that object. Two requests are under
 * way at once when both have read before either writes: that is where stores lose what users did.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

type SessionData = Record<string, unknown>;

/** The part of express-session's Store that the checks use. */
export interface CheckedStore {
  get(id: string, callback: (error?: unknown, session?: SessionData | null) => void): void;
  set(id: string, session: SessionData, callback: (error?: unknown) => void): void;
  destroy(id: string, callback: (error?: unknown) => void): void;
  touch(id: string, session: SessionData, callback: (error?: unknown) => void): void;
}

export interface SessionStoreSubject {
  /** One application's store on two of its instances. */
  readonly stores: readonly [CheckedStore, CheckedStore];
  /** All that is stored anywhere, as text; without it, what is stored cannot be looked at. */
  stored?(): Promise<string>;
}

export interface SessionStoreCheck {
  /** What the store must do. */
  readonly name: string;
  /** Rejects where it does not. */
  run(subject: SessionStoreSubject): Promise<void>;
}

const minuteMs = 60_000;

function fresh(content: SessionData = {}, maxAgeMs = minuteMs): SessionData {
  const expires = new Date(Date.now() + maxAgeMs).toISOString();
  return { cookie: { originalMaxAge: maxAgeMs, expires, httpOnly: true, path: '/' }, ...content };
}

function promised<T>(
  call: (callback: (error?: unknown, result?: T) => void) => void,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => call((error, result) => (error ? reject(error) : resolve(result))));
}

/** Undefined where there is no such session, however the store says so. */
async function read(store: CheckedStore, id: string): Promise<SessionData | undefined> {
  return (await promised<SessionData | null>((callback) => store.get(id, callback))) ?? undefined;
}

async function readLive(store: CheckedStore, id: string): Promise<SessionData> {
  const session = await read(store, id);
  assert.ok(session, 'the session is not there');
  return session;
}

const save = (store: CheckedStore, id: string, session: SessionData) =>
  promised((callback) => store.set(id, session, callback));
const destroy = (store: CheckedStore, id: string) => promised((callback) => store.destroy(id, callback));
const touch = (store: CheckedStore, id: string, session: SessionData) =>
  promised((callback) => store.touch(id, session, callback));

function contentOf(session: SessionData): SessionData {
  const { cookie: _, ...content } = session;
  return content;
}

/** A session that is there, under a new id. */
async function saved(store: CheckedStore, content: SessionData, maxAgeMs?: number): Promise<string> {
  const id = randomUUID();
  await save(store, id, fresh(content, maxAgeMs));
  return id;
}

/**
 * Reads until the session is gone and holds each read against the time in which it must or must not be there,
 * whatever the machine's load: it began to live at some moment between the two given.
 */
async function expectLife(
  store: CheckedStore,
  id: string,
  livesMs: number,
  from: readonly [number, number],
): Promise<void> {
  const giveUpMs = from[1] + livesMs + 5_000;
  for (;;) {
    const startMs = performance.now();
    const there = (await read(store, id)) !== undefined;
    const endMs = performance.now();
    if (there)
      assert.ok(
        startMs <= from[1] + livesMs,
        `still there ${Math.round(startMs - from[1])} ms after it was saved`,
      );
    else assert.ok(endMs >= from[0] + livesMs, `gone ${Math.round(endMs - from[0])} ms after it was saved`);
    if (!there) return;
    assert.ok(endMs < giveUpMs, 'it does not end');
    await delay(5);
  }
}

const basics: SessionStoreCheck[] = [
  {
    name: 'a saved session can be read',
    async run({ stores: [store] }) {
      const id = await saved(store, { user: 'ada' });
      assert.deepEqual(contentOf(await readLive(store, id)), { user: 'ada' });
    },
  },
  {
    name: 'an unknown id is no session and no error',
    async run({ stores: [store] }) {
      assert.equal(await read(store, randomUUID()), undefined);
    },
  },
  {
    name: 'every JSON value comes back as it was',
    async run({ stores: [store] }) {
      const content = {
        text: 'é 漢 \u{1f600} "quoted" \\u0000',
        nul: 'before\u0000after',
        half: '\ud800',
        number: 2 ** 60,
        small: -1.5e-300,
        nothing: null,
        yes: true,
        list: [1, [2, { three: 3 }], null],
        nested: { b: 1, a: { '': 'empty key', '10': 'ten', '9': 'nine' } },
      };
      const id = await saved(store, content);
      const back = contentOf(await readLive(store, id));
      assert.deepEqual(back, content);
      assert.equal(JSON.stringify(back.nested), JSON.stringify(content.nested), 'the order of keys');
    },
  },
  {
    name: 'a removed key stays removed',
    async run({ stores: [store] }) {
      const id = await saved(store, { keep: 1, drop: 2 });
      const session = await readLive(store, id);
      delete session.drop;
      await save(store, id, session);
      assert.deepEqual(contentOf(await readLive(store, id)), { keep: 1 });
    },
  },
  {
    name: 'changing an object after it was saved or read changes nothing stored',
    async run({ stores: [store] }) {
      const id = randomUUID();
      const session = fresh({ list: [1] });
      await save(store, id, session);
      (session.list as number[]).push(2);
      ((await readLive(store, id)).list as number[]).push(3);
      assert.deepEqual((await readLive(store, id)).list, [1]);
    },
  },
  {
    name: 'what cannot be stored is an error, and the session stays as it was',
    async run({ stores: [store] }) {
      const id = await saved(store, { user: 'ada' });
      const session = await readLive(store, id);
      session.user = 'eve';
      session.circle = session;
      await assert.rejects(save(store, id, session));
      assert.deepEqual(contentOf(await readLive(store, id)), { user: 'ada' });
    },
  },
  {
    name: 'a destroyed session is gone, and destroying it again is no error',
    async run({ stores: [store] }) {
      const id = await saved(store, {});
      await destroy(store, id);
      assert.equal(await read(store, id), undefined);
      await destroy(store, id);
      await destroy(store, randomUUID());
    },
  },
  {
    name: 'a session says how long it lives',
    async run({ stores: [store] }) {
      const id = await saved(store, {}, minuteMs);
      const cookie = (await readLive(store, id)).cookie as { originalMaxAge: number; expires: string | Date };
      assert.equal(cookie.originalMaxAge, minuteMs);
      const remainingMs = new Date(cookie.expires).getTime() - Date.now();
      assert.ok(remainingMs > minuteMs - 5_000 && remainingMs <= minuteMs, `expires in ${remainingMs} ms`);
    },
  },
  {
    name: 'ids are not stored in clear',
    async run({ stores: [store], stored }) {
      assert.ok(stored, 'what is stored cannot be looked at');
      const id = await saved(store, { user: 'ada' });
      const text = await stored();
      assert.ok(text.length > 0 && !text.includes(id), 'the id can be read where sessions are stored');
    },
  },
];

const instances: SessionStoreCheck[] = [
  {
    name: 'a save that called back is visible on the other instance',
    async run({ stores: [one, other] }) {
      const id = await saved(one, { step: 1 });
      for (let step = 1; step < 6; step++) {
        const [writer, reader] = step % 2 ? [one, other] : [other, one];
        const session = await readLive(reader, id);
        assert.equal(session.step, step);
        session.step = step + 1;
        await save(writer, id, session);
      }
    },
  },
  {
    name: 'a destruction that called back is visible on the other instance',
    async run({ stores: [one, other] }) {
      const id = await saved(one, {});
      await readLive(other, id);
      await destroy(one, id);
      assert.equal(await read(other, id), undefined);
    },
  },
];

/** Both have read before either writes. */
async function twoRequests(
  [one, other]: readonly [CheckedStore, CheckedStore],
  content: SessionData,
  first: (session: SessionData) => void,
  second: (session: SessionData) => void,
): Promise<SessionData> {
  const id = await saved(one, content);
  const [mine, theirs] = [await readLive(one, id), await readLive(other, id)];
  first(mine);
  await save(one, id, mine);
  second(theirs);
  await save(other, id, theirs);
  return contentOf(await readLive(one, id));
}

const addBasket = (session: SessionData) => Object.assign(session, { basket: ['book'] });
const addTheme = (session: SessionData) => Object.assign(session, { theme: 'dark' });

const concurrency: SessionStoreCheck[] = [
  {
    name: 'concurrent requests on one instance keep each other’s keys',
    async run({ stores: [store] }) {
      const after = await twoRequests([store, store], { user: 'ada' }, addBasket, addTheme);
      assert.deepEqual(after, { user: 'ada', basket: ['book'], theme: 'dark' });
    },
  },
  {
    name: 'concurrent requests on two instances keep each other’s keys',
    async run({ stores }) {
      const after = await twoRequests(stores, { user: 'ada' }, addBasket, addTheme);
      assert.deepEqual(after, { user: 'ada', basket: ['book'], theme: 'dark' });
    },
  },
  {
    name: 'a key removed by one request is not brought back by another',
    async run({ stores }) {
      const removeNotice = (session: SessionData) => Reflect.deleteProperty(session, 'notice');
      const after = await twoRequests(stores, { notice: 'welcome' }, removeNotice, addTheme);
      assert.deepEqual(after, { theme: 'dark' });
    },
  },
  {
    name: 'a save without changes undoes nothing',
    async run({ stores }) {
      const after = await twoRequests(stores, { user: 'ada' }, addBasket, () => undefined);
      assert.deepEqual(after, { user: 'ada', basket: ['book'] });
    },
  },
  {
    name: 'of twenty requests at once, each changing a key of its own, none is lost',
    async run({ stores }) {
      const id = await saved(stores[0], {});
      const numbers = Array.from({ length: 20 }, (_, number) => number);
      const storeOf = (number: number) => stores[number % 2] as CheckedStore;
      const requests = await Promise.all(numbers.map((number) => readLive(storeOf(number), id)));
      await Promise.all(
        requests.map((session, number) => {
          session[`key${number}`] = number;
          return save(storeOf(number), id, session);
        }),
      );
      const expected = Object.fromEntries(numbers.map((number) => [`key${number}`, number]));
      assert.deepEqual(contentOf(await readLive(stores[0], id)), expected);
    },
  },
  {
    name: 'a late save does not bring a destroyed session back',
    async run({ stores: [one, other] }) {
      for (const late of [one, other]) {
        const id = await saved(one, { user: 'ada' });
        const session = await readLive(late, id);
        session.visits = 1;
        await destroy(one, id);
        await save(late, id, session).catch(() => undefined); // refusing it is as good
        assert.equal(await read(one, id), undefined);
        assert.equal(await read(other, id), undefined);
      }
    },
  },
  {
    name: 'a late touch does not bring a destroyed session back',
    async run({ stores: [one, other] }) {
      const id = await saved(one, { user: 'ada' });
      const session = await readLive(other, id);
      await destroy(one, id);
      await touch(other, id, session).catch(() => undefined); // refusing it is as good
      assert.equal(await read(one, id), undefined);
      assert.equal(await read(other, id), undefined);
    },
  },
  {
    name: 'a touch does not write old data',
    async run({ stores: [one, other] }) {
      const id = await saved(one, { step: 1 });
      const reading = await readLive(one, id);
      const writing = await readLive(other, id);
      writing.step = 2;
      await save(other, id, writing);
      await touch(one, id, reading);
      assert.equal((await readLive(one, id)).step, 2);
      assert.equal((await readLive(other, id)).step, 2);
    },
  },
];

const lifetimes: SessionStoreCheck[] = [
  ...[25, 300].map((maxAgeMs) => ({
    name: `a session of ${maxAgeMs} ms ends to the millisecond, and reading does not prolong it`,
    async run({ stores: [store, other] }: SessionStoreSubject) {
      const startMs = performance.now();
      const id = await saved(store, {}, maxAgeMs);
      await expectLife(other, id, maxAgeMs, [startMs, performance.now()]);
    },
  })),
  {
    name: 'a touch prolongs a session on every instance',
    async run({ stores: [one, other] }) {
      const maxAgeMs = 400;
      const id = await saved(one, {}, maxAgeMs);
      await delay(250);
      const session = await readLive(one, id);
      const startMs = performance.now();
      await touch(one, id, { ...session, ...fresh({}, maxAgeMs) });
      await expectLife(other, id, maxAgeMs, [startMs, performance.now()]);
    },
  },
  {
    name: 'a session that ran out does not come back by a late touch',
    async run({ stores: [store] }) {
      const id = await saved(store, {}, 30);
      const session = fresh({}, 30);
      await delay(60);
      await touch(store, id, session).catch(() => undefined); // refusing it is as good
      assert.equal(await read(store, id), undefined);
    },
  },
];

export const sessionStoreChecks: readonly SessionStoreCheck[] = [
  ...basics,
  ...instances,
  ...concurrency,
  ...lifetimes,
];

import assert from 'node:assert/strict';
import type { EngineOptions } from '../../balancer/engine.ts';
import type {
  IdempotencyAnswer,
  IdempotencyLedger,
  IdempotentRequest,
  StoredResponse,
} from '../../balancer/idempotency.ts';
import { belongsTo, type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';
import { until } from './until.ts';

type Entry = { readonly token: string; readonly fingerprint: string } & (
  | { readonly kind: 'running' | 'unknown' }
  | { readonly kind: 'done'; readonly response: StoredResponse }
);

/** The ledger as a real one behaves, in memory. */
class MemoryLedger implements IdempotencyLedger {
  readonly entries = new Map<string, Entry>();
  isAway = false;
  #grants = 0;

  async claim({ key, fingerprint }: IdempotentRequest): Promise<IdempotencyAnswer> {
    if (this.isAway) throw new Error('the ledger is away');
    const entry = this.entries.get(key);
    if (entry === undefined) {
      const token = `grant-${++this.#grants}`;
      this.entries.set(key, { kind: 'running', token, fingerprint });
      return { kind: 'granted', token };
    }
    if (entry.fingerprint !== fingerprint) return { kind: 'mismatch' };
    return entry.kind === 'done' ? { kind: 'done', response: entry.response } : { kind: entry.kind };
  }

  async finish(token: string, response: StoredResponse): Promise<void> {
    const { key, fingerprint } = this.#granted(token);
    this.entries.set(key, { kind: 'done', token, fingerprint, response });
  }

  async release(token: string): Promise<void> {
    this.entries.delete(this.#granted(token).key);
  }

  async forget(token: string): Promise<void> {
    const { key, fingerprint } = this.#granted(token);
    this.entries.set(key, { kind: 'unknown', token, fingerprint });
  }

  #granted(token: string): { key: string; fingerprint: string } {
    for (const [key, entry] of this.entries) {
      if (entry.token === token && entry.kind === 'running') return { key, fingerprint: entry.fingerprint };
    }
    return assert.fail(`${token} was not granted, or is used twice`);
  }
}

/** `Idempotency-Key`: a POST that is sent again is carried out once. */
export function idempotencyTests(suite: Suite): void {
  repeatedTests(suite);
  refusedTests(suite);
}

const order = (key: string, body = 'an order', headers: Record<string, string> = {}) => ({
  method: 'POST',
  body,
  headers: { 'Idempotency-Key': key, ...headers },
});

function withLedger(): { ledger: MemoryLedger; engine: Partial<EngineOptions> } {
  const ledger = new MemoryLedger();
  return { ledger, engine: { idempotency: ledger } };
}

async function untilKept(ledger: MemoryLedger, key: string, kind: Entry['kind']): Promise<void> {
  await until(`${key} is ${kind}`, () => ledger.entries.get(key)?.kind === kind);
}

function repeatedTests({ start, test }: Suite): void {
  test('P7: a POST that is sent again under its key gets the response of the first', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    const path = '/say?header=X-Order:+4711&header=Content-Type:+text/x-order';
    const first = await scene.ask(path, order('one'));
    await untilKept(ledger, 'one', 'done');
    for (const instance of ['shop-1', 'shop-2']) {
      const again = await scene.ask(path, order('one', 'an order', belongsTo(instance)));
      assert.equal(again.status, 200);
      assert.equal(again.body, first.body);
      assert.equal(again.headers['x-order'], '4711');
      assert.equal(again.headers['content-type'], 'text/x-order');
    }
    assert.equal(await scene.arrivals('POST', path), 1);
  });

  test('P7: other keys, and requests without one, are carried out each', async (t) => {
    const { engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    for (const headers of [{ 'Idempotency-Key': 'one' }, { 'Idempotency-Key': 'two' }, {}, {}]) {
      assert.equal((await scene.ask('/echo', { method: 'POST', body: 'x', headers })).status, 200);
    }
    assert.equal(await scene.arrivals('POST', '/echo'), 4);
  });

  test('P7: a failure of the application is a response like any other', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    const path = '/status?code=409';
    assert.equal((await scene.ask(path, order('one'))).status, 409);
    await untilKept(ledger, 'one', 'done');
    assert.equal((await scene.ask(path, order('one'))).status, 409);
    assert.equal(await scene.arrivals('POST', path), 1);
  });

  test('P7: a POST that was never sent is as if its key had not been used', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine: { ...engine, limits: { holdMs: 100 } } });
    await scene.say({ 'shop-1': 'down', 'shop-2': 'down' });
    assert.equal((await scene.ask('/echo', order('one'))).status, 503);
    await until('the key is free', () => ledger.entries.size === 0);
    await scene.say({ 'shop-1': 'up' });
    assert.equal((await scene.ask('/echo', order('one'))).status, 200);
  });

  test('P7: a request whose response is too large to be kept is not repeated either', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    const reply = await scene.ask('/big?chunks=512', order('one'));
    assert.equal(reply.body.length, 512 * 64 * 1024);
    await untilKept(ledger, 'one', 'done');
    const again = await scene.ask('/big?chunks=512', order('one'));
    assert.equal(again.status, 200);
    assert.match(again.body, /was carried out/);
    assert.equal(await scene.arrivals('POST', '/big?chunks=512'), 1);
  });

  test('without a ledger the header means nothing to the balancer', async (t) => {
    const scene = await setScene(t, start);
    for (let i = 0; i < 2; i++) {
      assert.match((await scene.ask('/echo', order('one'))).body, /"Idempotency-Key","one"/i);
    }
    assert.equal(await scene.arrivals('POST', '/echo'), 2);
  });
}

async function refuses(scene: Scene, request: object, status: number, text: RegExp): Promise<void> {
  const reply = await scene.ask('/hang', request);
  assert.equal(reply.status, status);
  assert.match(reply.body, text);
}

function refusedTests({ start, test }: Suite): void {
  test('P7: the same key while the first request is under way is 409', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    const path = '/slow?ms=500';
    const first = scene.ask(path, order('one'));
    await untilKept(ledger, 'one', 'running');
    assert.equal((await scene.ask(path, order('one'))).status, 409);
    assert.equal((await first).status, 200);
    assert.equal(await scene.arrivals('POST', path), 1);
  });

  test('P7: the same key for another request is 422', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    assert.equal((await scene.ask('/echo', order('one'))).status, 200);
    await untilKept(ledger, 'one', 'done');
    assert.equal((await scene.ask('/echo', order('one', 'another order'))).status, 422);
    assert.equal((await scene.ask('/echo?twice', order('one'))).status, 422);
    assert.equal((await scene.ask('/echo', { ...order('one'), method: 'PATCH' })).status, 422);
    assert.equal((await scene.allRecords()).filter(({ method }) => method !== undefined).length, 1);
  });

  test('P7: a request that was lost with its instance is unknown from then on: 409, and never carried out again', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    const post = scene.ask('/hang', order('one', 'an order', belongsTo('shop-1')));
    await scene.untilRecorded('shop-1', (entry) => entry.url === '/hang');
    await scene.backend('shop-1').kill();
    assert.equal((await post).status, 502);
    await untilKept(ledger, 'one', 'unknown');
    await refuses(scene, order('one'), 409, /unknown/i);
    assert.equal(await scene.arrivals('POST', '/hang'), 1);
  });

  test('P10: a key that nobody can look up is 503, and nothing is sent', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    ledger.isAway = true;
    await refuses(scene, order('one'), 503, /./);
    assert.equal((await scene.ask('/echo', { method: 'POST', body: 'no key' })).status, 200);
    assert.equal(await scene.arrivals('POST', '/hang'), 0);
  });

  test('P10: a key that is too long is refused', async (t) => {
    const { ledger, engine } = withLedger();
    const scene = await setScene(t, start, { engine });
    await refuses(scene, order('k'.repeat(256)), 400, /Idempotency-Key/i);
    assert.equal(ledger.entries.size, 0);
    assert.equal((await scene.ask('/echo', order('k'.repeat(255)))).status, 200);
  });
}

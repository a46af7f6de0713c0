import assert from 'node:assert/strict';
import { arrivedHeaders } from './client.ts';
import { type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

async function seenBy(scene: Scene, headers: Record<string, string>, name: string): Promise<string[]> {
  return arrivedHeaders((await scene.ask('/echo', { headers })).body)(name);
}

/** The names that a request has on its way: the trace that it belongs to, and its own. */
export function identityTests({ start, test }: Suite): void {
  test('traceparent passes as it is, and tracestate with it', async (t) => {
    const scene = await setScene(t, start);
    const headers = { traceparent, tracestate: 'rojo=00f067aa0ba902b7' };
    assert.deepEqual(await seenBy(scene, headers, 'traceparent'), [traceparent]);
    assert.deepEqual(await seenBy(scene, headers, 'tracestate'), ['rojo=00f067aa0ba902b7']);
  });

  test('a request without a traceparent gets one, a new one each', async (t) => {
    const scene = await setScene(t, start);
    const made = [...(await seenBy(scene, {}, 'traceparent')), ...(await seenBy(scene, {}, 'traceparent'))];
    assert.equal(new Set(made).size, 2);
    for (const value of made) assert.match(value, /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]$/);
  });

  test('P10: a traceparent that is none is replaced', async (t) => {
    const scene = await setScene(t, start);
    for (const wrong of [
      'nonsense',
      `ff${traceparent.slice(2)}`,
      `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
      `00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`,
      traceparent.toUpperCase(),
      `${traceparent}-more`,
    ]) {
      const [value, ...others] = await seenBy(scene, { traceparent: wrong }, 'traceparent');
      assert.deepEqual(others, []);
      assert.notEqual(value, wrong);
      assert.match(value ?? '', /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
    }
  });

  test('each request gets an id of its own, and what a client calls itself does not count', async (t) => {
    const scene = await setScene(t, start);
    const ids = [
      ...(await seenBy(scene, {}, 'x-request-id')),
      ...(await seenBy(scene, { 'X-Request-Id': 'mine' }, 'x-request-id')),
      ...(await seenBy(scene, { X_Request_Id: 'mine' }, 'x-request-id')),
    ];
    assert.equal(new Set(ids).size, 3);
    for (const id of ids) assert.match(id, /^[\w-]{16,64}$/);
    assert.deepEqual(await seenBy(scene, { X_Request_Id: 'mine' }, 'x_request_id'), []);
  });

  test('the id that a trusted proxy gave is kept', async (t) => {
    const scene = await setScene(t, start, { engine: { trustedProxies: ['127.0.0.1'] } });
    assert.deepEqual(await seenBy(scene, { 'X-Request-Id': 'from-the-edge-1' }, 'x-request-id'), [
      'from-the-edge-1',
    ]);
  });
}

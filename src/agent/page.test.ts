import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instanceStates } from '../protocol/instance-state.ts';
import { openHealthPage, pageFor, type Verdict } from './page.ts';

const verdict: Verdict = {
  instance: 'shop-1',
  state: 'up',
  reason: null,
  lease: { held: true, required: false },
};

test('the page says 200 OK when the instance is up', () => {
  assert.deepEqual(pageFor(verdict), { status: 200, body: 'OK\n' });
});

for (const state of instanceStates.filter((one) => one !== 'up')) {
  test(`the page says 503 with the reason in JSON while the instance is ${state}`, () => {
    const { status, body } = pageFor({ ...verdict, state, reason: 'a reason' });
    assert.equal(status, 503);
    assert.deepEqual(JSON.parse(body), { instance: 'shop-1', state, reason: 'a reason' });
  });
}

test('P4, P9: without a lease the page says 503 only if the configuration asks for that', () => {
  assert.equal(pageFor({ ...verdict, lease: { held: false, required: false } }).status, 200);
  const { status, body } = pageFor({ ...verdict, lease: { held: false, required: true } });
  assert.equal(status, 503);
  assert.equal(JSON.parse(body).reason, 'the lease is not held');
});

test('P10: the page answers only GET and HEAD of /health', async () => {
  const page = await openHealthPage({ host: '127.0.0.1', port: 0 }, () => verdict);
  try {
    assert.equal((await fetch(page.url)).status, 200);
    assert.equal((await fetch(page.url, { method: 'HEAD' })).status, 200);
    assert.equal((await fetch(page.url, { method: 'POST' })).status, 405);
    assert.equal((await fetch(new URL('/other', page.url))).status, 404);
  } finally {
    await page.close();
  }
});

test('P10: an address that is taken is refused with the address and a remedy', async () => {
  const page = await openHealthPage({ host: '127.0.0.1', port: 0 }, () => verdict);
  try {
    const { port } = new URL(page.url);
    await assert.rejects(
      openHealthPage({ host: '127.0.0.1', port: Number(port) }, () => verdict),
      {
        code: 'LISTEN_FAILED',
        message: new RegExp(`127\\.0\\.0\\.1:${port}`),
      },
    );
  } finally {
    await page.close();
  }
});

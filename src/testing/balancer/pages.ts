import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from './cleanup.ts';
import type { Reply } from './client.ts';
import { type Scene, setScene } from './scene.ts';
import type { Suite } from './suite.ts';

const browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
const limits = { holdMs: 50 };

/** What people and programs read when no instance answers them. */
export function pagesTests({ start, test }: Suite): void {
  const nobody = async (scene: Scene, accept?: string): Promise<Reply> => {
    await scene.say({ 'shop-1': 'down', 'shop-2': 'down' });
    return scene.ask('/orders', accept === undefined ? {} : { headers: { Accept: accept } });
  };

  test('a browser gets a page, a program gets JSON, and who does not say gets plain text', async (t) => {
    const scene = await setScene(t, start, { engine: { limits } });
    const page = await nobody(scene, browser);
    assert.match(page.headers['content-type'] ?? '', /^text\/html; charset=utf-8$/i);
    assert.match(page.body, /^<!doctype html>/i);
    const json = await nobody(scene, 'application/json');
    assert.match(json.headers['content-type'] ?? '', /^application\/(problem\+)?json/);
    assert.equal(typeof JSON.parse(json.body), 'object');
    for (const accept of [undefined, '*/*', 'text/plain', 'image/png']) {
      const plain = await nobody(scene, accept);
      assert.match(plain.headers['content-type'] ?? '', /^text\/plain/, String(accept));
      assert.doesNotMatch(plain.body, /[<{]/);
    }
  });

  test('Accept is read as it is meant: by weight, by order of nothing, and 0 means no', async (t) => {
    const scene = await setScene(t, start, { engine: { limits } });
    for (const [accept, type] of [
      ['text/html;q=0.5, application/json', /json/],
      ['application/json;q=0.5, text/html', /html/],
      ['text/html;q=0, application/json;q=0.1', /json/],
      ['application/problem+json', /json/],
    ] as const) {
      assert.match((await nobody(scene, accept)).headers['content-type'] ?? '', type, accept);
    }
  });

  test('a page of the balancer is kept by nobody, and says nothing of the instances', async (t) => {
    const scene = await setScene(t, start, { engine: { limits } });
    for (const accept of [browser, 'application/json', 'text/plain']) {
      const reply = await nobody(scene, accept);
      assert.equal(reply.status, 503);
      assert.match(reply.headers['cache-control'] ?? '', /no-store/);
      assert.doesNotMatch(reply.body, /shop-|127\.0\.0\.1/);
    }
  });

  test('P10: nothing that a client sends comes back in a page', async (t) => {
    const scene = await setScene(t, start, { engine: { limits } });
    await scene.say({ 'shop-1': 'down', 'shop-2': 'down' });
    const headers = { Accept: browser, Host: 'evil.example', 'X-Request-Id': 'evil-id', Cookie: 'evil=1' };
    const reply = await scene.ask('/evil%3Cscript%3E?evil=%3Cscript%3E', { headers });
    assert.equal(reply.status, 503);
    assert.doesNotMatch(reply.body, /evil/);
  });

  test('HEAD of a page has its headers only', async (t) => {
    const scene = await setScene(t, start, { engine: { limits } });
    await scene.say({ 'shop-1': 'down', 'shop-2': 'down' });
    const reply = await scene.ask('/orders', { method: 'HEAD', headers: { Accept: browser } });
    assert.deepEqual([reply.status, reply.body], [503, '']);
  });

  test('own pages take the place of the built-in ones, for people only', async (t) => {
    const folder = await temporaryFolder(t);
    const pages = { '503': join(folder, 'busy.html'), maintenance: join(folder, 'works.html') };
    await writeFile(pages['503'], '<!doctype html><p>Wir sind gleich zurück');
    await writeFile(pages.maintenance, '<!doctype html><p>Wartung bis sechs');
    const scene = await setScene(t, start, { engine: { limits, pages } });
    const page = await nobody(scene, browser);
    assert.deepEqual([page.status, page.body], [503, '<!doctype html><p>Wir sind gleich zurück']);
    assert.equal(typeof JSON.parse((await nobody(scene, 'application/json')).body), 'object');
    await scene.say({ 'shop-1': 'maintenance', 'shop-2': 'maintenance' });
    const maintenance = await scene.ask('/orders', { headers: { Accept: browser } });
    assert.deepEqual([maintenance.status, maintenance.body], [503, '<!doctype html><p>Wartung bis sechs']);
  });

  test('when all instances are in maintenance the page says so, with a time to come back', async (t) => {
    const scene = await setScene(t, start, { engine: { limits } });
    await scene.say({ 'shop-1': 'maintenance', 'shop-2': 'maintenance' });
    for (const accept of [browser, 'application/json', 'text/plain']) {
      const reply = await scene.ask('/orders', { headers: { Accept: accept } });
      assert.equal(reply.status, 503);
      assert.match(reply.body, /maintenance/i);
      assert.match(reply.headers['retry-after'] ?? '', /^\d+$/);
    }
    await scene.say({ 'shop-2': 'up' });
    assert.equal((await scene.ask('/whoami')).body, 'shop-2');
  });
}

/** A real browser through TLS and HTTP/2: pages, uploads, event streams and WebSockets, while an instance dies. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { startEmbeddedEngine } from '../../src/balancer/embedded/engine.ts';
import { certificatesFor } from '../../src/testing/balancer/certificates.ts';
import { type Scene, setScene } from '../../src/testing/balancer/scene.ts';

const program = '/usr/bin/chromium';
const options = existsSync(program) ? {} : { skip: `${program} is not there` };

async function openBrowser(t: TestContext): Promise<BrowserContext> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-browser-'));
  const flags = ['--no-sandbox', '--disable-gpu', '--disable-background-networking'];
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: program,
    headless: true,
    ignoreHTTPSErrors: true,
    args: [...flags, '--disable-component-update', '--disable-sync'],
  });
  t.after(async () => {
    await context.close();
    await rm(folder, { recursive: true, force: true });
  });
  return context;
}

async function visit(t: TestContext): Promise<{ scene: Scene; context: BrowserContext; page: Page }> {
  const certificates = await certificatesFor(t, 'localhost');
  const scene = await setScene(t, startEmbeddedEngine, { engine: { tls: { certificates, http2: true } } });
  const context = await openBrowser(t);
  const page = await context.newPage();
  await page.goto(`https://localhost:${scene.port}/say?header=Content-Type:+text/html`);
  return { scene, context, page };
}

/** Runs in the page. */
const inPage = <T>(page: Page, script: string): Promise<T> =>
  page.evaluate<T>(`(async () => { ${script} })()`);

test('a browser comes by HTTP/2, gets a cookie that it keeps from scripts, and stays', options, async (t) => {
  const { context, page } = await visit(t);
  const home = await page.innerText('body');
  assert.match(home, /^shop-[12]$/);
  const protocol = await inPage(page, 'return performance.getEntriesByType("navigation")[0].nextHopProtocol');
  assert.equal(protocol, 'h2');
  const [cookie] = (await context.cookies()).filter(({ name }) => name === 'holdfast');
  assert.ok(cookie);
  assert.deepEqual([cookie.secure, cookie.httpOnly, cookie.sameSite], [true, true, 'Lax']);
  const places = await inPage<string[]>(
    page,
    'return Promise.all(Array.from({ length: 40 }, async () => (await fetch("/whoami")).text()))',
  );
  assert.deepEqual([...new Set(places)], [home]);
});

test('a browser uploads, downloads and listens to an event stream', options, async (t) => {
  const { page } = await visit(t);
  const post = 'fetch("/sip?ms=50", { method: "POST", body: "x".repeat(5_000_000) })';
  assert.equal(await inPage(page, `return (await ${post}).text()`), '5000000');
  const download = 'return (await (await fetch("/big?chunks=100")).arrayBuffer()).byteLength';
  assert.equal(await inPage(page, download), 100 * 64 * 1024);
  const events = `return new Promise((done) => {
    const seen = [];
    const source = new EventSource("/stream?endless");
    source.onmessage = ({ data }) => { if (seen.push(data) === 4) { source.close(); done(seen); } };
  })`;
  assert.deepEqual(await inPage(page, events), ['1', '2', '3', '4']);
});

test(
  'a user in a browser notices nothing of an instance that is killed but a WebSocket that opens again',
  options,
  async (t) => {
    const { scene, context, page } = await visit(t);
    const home = await page.innerText('body');
    const other = home === 'shop-1' ? 'shop-2' : 'shop-1';
    await inPage(
      page,
      `const told = (window.told = []);
    const open = () => {
      const socket = new WebSocket("wss://" + location.host + "/websocket");
      socket.onopen = () => socket.send("hello");
      socket.onmessage = ({ data }) => told.push(data);
      socket.onclose = () => setTimeout(open, 50);
    };
    open();
    window.failures = 0;
    window.statuses = [];
    const ask = async () => {
      try { statuses.push((await fetch("/whoami")).status); } catch { window.failures++; }
      setTimeout(ask, 5);
    };
    ask();`,
    );
    await page.waitForFunction(`window.told.includes("${home}: hello") && window.statuses.length > 20`);
    await scene.backend(home).kill();
    await page.waitForFunction(`window.told.includes("${other}: hello")`);
    const before = await inPage<number>(page, 'return window.statuses.length');
    await page.waitForFunction(`window.statuses.length > ${before + 20}`);
    assert.equal(await inPage(page, 'return window.failures'), 0);
    assert.deepEqual(await inPage(page, 'return [...new Set(window.statuses)]'), [200]);
    assert.equal(await inPage(page, 'return (await fetch("/whoami")).text()'), other);
    assert.equal((await context.cookies()).filter(({ name }) => name === 'holdfast').length, 1);
  },
);

test('a browser shows the page of maintenance, which a person can read', options, async (t) => {
  const { scene, page } = await visit(t);
  await scene.say({ 'shop-1': 'maintenance', 'shop-2': 'maintenance' });
  const response = await page.goto(`https://localhost:${scene.port}/orders`);
  assert.equal(response?.status(), 503);
  assert.match(await page.innerText('h1'), /./);
  assert.match(await page.innerText('body'), /maintenance/i);
});

/**
 * The shop as its visitors meet it: two instances, real processes, over one real database and one directory of
 * pictures, without a balancer. What one instance was told, the other knows.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { startTestPostgres, type TestPostgres } from '../../src/testing/postgres.ts';
import {
  endProcesses,
  errorOf,
  eventually,
  type Instance,
  startInstance,
  tinyPng,
  Visitor,
} from './shop-in-processes.ts';

let postgres: TestPostgres;
let files: string;
let one: Instance;
let two: Instance;

before(async () => {
  postgres = await startTestPostgres();
  files = await mkdtemp(join(tmpdir(), 'holdfast-shop-'));
  const databaseUrl = await postgres.createDatabase();
  // The second is told of two hosts, of which the first is gone, as after a failover.
  const twoHosts = databaseUrl.replace('@', '@127.0.0.1:1,');
  [one, two] = await Promise.all([
    startInstance('shop-1', databaseUrl, files),
    startInstance('shop-2', twoHosts, files),
  ]);
});

after(async () => {
  endProcesses();
  await postgres.stop();
  await rm(files, { recursive: true, force: true });
});

suite('A visitor and two instances', () => {
  test('instances that start at once make the tables together and show the same shop', async () => {
    const shops = await Promise.all([one, two].map((instance) => new Visitor().get(instance, '/')));
    const [first, second] = shops as { products: { id: string }[]; instance: string }[];
    assert.equal(first?.products.length, 8);
    assert.deepEqual(first?.products, second?.products);
    assert.deepEqual([first?.instance, second?.instance], ['shop-1', 'shop-2']);
    const health = await fetch(`${one.url}/health`);
    assert.deepEqual([health.status, await health.json()], [200, { status: 'ok' }]);
  });

  test('P6: who logged in on one instance is logged in on the other, with visits and basket', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    assert.deepEqual(await ada.get(one, '/whoami'), { user: 'Ada', instance: 'shop-1', visits: 1 });
    assert.equal((await ada.post(one, '/basket', { item: 'anchor' })).status, 200);
    assert.deepEqual(await ada.get(two, '/whoami'), { user: 'Ada', instance: 'shop-2', visits: 2 });
    const added = await ada.post(two, '/basket', { item: 'rope' });
    assert.deepEqual(await added.json(), { user: 'Ada', items: ['anchor', 'rope'] });
    assert.deepEqual(await ada.get(one, '/basket'), { user: 'Ada', items: ['anchor', 'rope'] });
  });

  test('P6: requests at once on both instances lose no visit, no item and no note', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    const both = (index: number) => (index % 2 === 0 ? one : two);
    const indexes = Array.from({ length: 12 }, (_, index) => index);
    await Promise.all(
      indexes.flatMap((index) => [
        ada.get(both(index), '/whoami'),
        ada.post(both(index), '/basket', { item: `item ${index}` }),
        ada.post(both(index), '/notes', { key: `n${index}`, value: `note ${index}` }),
      ]),
    );
    const { visits } = (await ada.get(two, '/whoami')) as { visits: number };
    assert.equal(visits, 13);
    const { items } = (await ada.get(one, '/basket')) as { items: string[] };
    assert.deepEqual(items.toSorted(), indexes.map((index) => `item ${index}`).toSorted());
    assert.deepEqual(await ada.get(two, '/notes'), {
      user: 'Ada',
      notes: Object.fromEntries(indexes.map((index) => [`n${index}`, `note ${index}`])),
    });
  });

  test('P6: after logging out the old cookie is nobody, on either instance, whatever is still under way', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    await ada.get(two, '/whoami');
    const stolen = ada.copy();
    const underWay = [one, two, one, two].map((instance) => stolen.ask(instance, '/whoami'));
    assert.equal((await ada.post(one, '/logout', {})).status, 200);
    await Promise.all(underWay);
    assert.deepEqual(await stolen.copy().get(one, '/whoami'), { user: null, instance: 'shop-1', visits: 0 });
    // The other instance hears of it.
    await eventually(async () => ((await stolen.copy().get(two, '/')) as { user: unknown }).user === null);
    assert.deepEqual(await stolen.copy().get(two, '/whoami'), { user: null, instance: 'shop-2', visits: 0 });
  });

  test('logging in gives a new session id, so that a planted one is worth nothing', async () => {
    const mallory = await Visitor.loggedIn(one, 'Mallory');
    const victim = mallory.copy();
    assert.equal((await victim.post(two, '/login', { user: 'Ada' })).status, 200);
    assert.deepEqual(await victim.get(one, '/whoami'), { user: 'Ada', instance: 'shop-1', visits: 1 });
    await eventually(async () => ((await mallory.copy().get(one, '/')) as { user: unknown }).user === null);
  });

  test('who only looks around gets no session and no cookie', async () => {
    const passerBy = new Visitor();
    for (const path of ['/', '/whoami', '/basket', '/notes', '/login']) await passerBy.get(one, path);
    const shown = { user: null, instance: 'shop-1', visits: 0 };
    assert.deepEqual(await passerBy.get(one, '/whoami'), shown);
    assert.equal(passerBy.cookies.size, 0);
  });
});

suite('Pictures', () => {
  test('a picture sent to one instance is served by the other, byte for byte, and cached for good', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    const sent = await ada.ask(one, '/pictures?product=bell', {
      method: 'POST',
      body: tinyPng,
      headers: { 'content-type': 'image/png' },
    });
    assert.equal(sent.status, 201);
    const { id, url } = (await sent.json()) as { id: string; url: string };
    assert.equal(url, `/pictures/${id}`);

    const served = await fetch(two.url + url);
    assert.equal(served.headers.get('content-type'), 'image/png');
    assert.equal(served.headers.get('x-content-type-options'), 'nosniff');
    assert.match(served.headers.get('cache-control') ?? '', /immutable/);
    assert.deepEqual(Buffer.from(await served.arrayBuffer()), tinyPng);
    const again = await fetch(two.url + url, {
      headers: { 'if-none-match': served.headers.get('etag') ?? '' },
    });
    assert.equal(again.status, 304);
    assert.match(await (await ada.page(one, '/')).text(), new RegExp(`<img src="/pictures/${id}"`));
  });

  test('a form may carry the picture, its product before or after it', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    for (const productFirst of [true, false]) {
      const form = new FormData();
      if (productFirst) form.append('product', 'flag');
      form.append('picture', new Blob([tinyPng], { type: 'text/html' }), '../../<evil>.html');
      if (!productFirst) form.append('product', 'flag');
      const sent = await ada.ask(two, '/pictures', { method: 'POST', body: form });
      assert.equal(sent.status, 201);
      const { id } = (await sent.json()) as { id: string };
      assert.match(id, /^[0-9a-f]{32}\.png$/);
    }
    const { products } = (await ada.get(two, '/')) as { products: { id: string; pictures: string[] }[] };
    assert.equal(products.find(({ id }) => id === 'flag')?.pictures.length, 2);
  });

  test('P10: what is no picture, too large or of no product is refused by name and leaves nothing', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    const before = await readdir(files);
    const send = (body: Buffer, query = '', type = 'image/png') =>
      ada.ask(one, `/pictures${query}`, { method: 'POST', body, headers: { 'content-type': type } });
    const page = await send(Buffer.from('<script>alert(1)</script>'));
    assert.equal(page.status, 415);
    assert.match(await errorOf(page), /no picture/);
    const large = Buffer.concat([tinyPng, Buffer.alloc(5 * 1024 * 1024)]);
    assert.equal((await send(large)).status, 413);
    const form = new FormData();
    form.append('picture', new Blob([large]), 'large.png');
    assert.equal((await ada.ask(one, '/pictures', { method: 'POST', body: form })).status, 413);
    const unknown = await send(tinyPng, '?product=submarine');
    assert.equal(unknown.status, 400);
    assert.match(await errorOf(unknown), /no product "submarine"/);
    assert.equal((await send(Buffer.alloc(0))).status, 400);
    assert.equal((await ada.ask(one, '/pictures', { method: 'POST', body: new FormData() })).status, 400);
    const stranger = new Visitor().ask(one, '/pictures', {
      method: 'POST',
      body: tinyPng,
      headers: { 'content-type': 'image/png' },
    });
    assert.equal((await stranger).status, 401);
    assert.deepEqual(await readdir(files), before);
  });

  test('P10: a name that no picture has is not found, and no path leads out of the directory', async () => {
    for (const id of [
      `${'0'.repeat(32)}.png`,
      'x',
      '..%2f..%2fserver.ts',
      '..%2Fshop.ts',
      '%00',
      `${'0'.repeat(32)}.svg`,
    ]) {
      const response = await fetch(`${one.url}/pictures/${id}`, { headers: { accept: 'application/json' } });
      assert.equal(response.status, 404, id);
      assert.equal(response.headers.get('cache-control'), 'no-store');
    }
  });
});

suite('Bad input', () => {
  test('P10: a field that is missing or wrong is named, and nothing changes', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    const wrong: [string, unknown, RegExp][] = [
      ['/login', {}, /"user" is missing/],
      ['/login', { user: '  ' }, /"user" is empty/],
      ['/login', { user: ['Ada'] }, /"user" must be one text/],
      ['/login', { user: 'x'.repeat(41) }, /"user" is longer than 40/],
      ['/login', { user: 'a\u0000b' }, /"user" contains/],
      ['/login', [], /JSON object with the field "user"/],
      ['/basket', { item: 7 }, /"item" must be one text/],
      ['/notes', { key: '../x', value: 'v' }, /"key" may have/],
      ['/notes', { key: 'k' }, /"value" is missing/],
    ];
    for (const [path, body, message] of wrong) {
      const response = await ada.post(one, path, body);
      assert.equal(response.status, 400, `${path} ${JSON.stringify(body)}`);
      assert.match(await errorOf(response), message);
    }
    const broken = await ada.ask(one, '/basket', {
      method: 'POST',
      body: '{"item":',
      headers: { 'content-type': 'application/json' },
    });
    assert.equal(broken.status, 400);
    const polluting = '{"item":"x","__proto__":{"user":"root"}}';
    const headers = { 'content-type': 'application/json' };
    assert.equal((await ada.ask(one, '/basket', { method: 'POST', body: polluting, headers })).status, 400);
    assert.equal(
      (await ada.ask(one, '/basket', { method: 'POST', body: 'x'.repeat(70_000), headers })).status,
      413,
    );
    assert.equal((await ada.ask(one, '/nowhere')).status, 404);
    assert.deepEqual(await ada.get(two, '/basket'), { user: 'Ada', items: [] });
    assert.deepEqual(await ada.get(two, '/notes'), { user: 'Ada', notes: {} });
  });

  test('P10: a cookie that was tampered with is nobody', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    const cookie = ada.cookies.get('sessionId') ?? '';
    const values = [`${cookie}x`, cookie.slice(1), 'rubbish', '%', '%00', "' or 1=1 --", 'x'.repeat(4_000)];
    for (const value of values) {
      const forger = new Visitor();
      forger.cookies.set('sessionId', value);
      const { user } = (await forger.get(one, '/whoami')) as { user: string | null };
      assert.equal(user, null, value);
    }
  });

  test('writes need a login: scripts are told so, people are shown where', async () => {
    const stranger = new Visitor();
    for (const [path, fields] of [
      ['/basket', { item: 'anchor' }],
      ['/notes', { key: 'k', value: 'v' }],
    ] as const) {
      const told = await stranger.post(one, path, fields);
      assert.equal(told.status, 401);
      assert.match(await errorOf(told), /Log in first/);
      const shown = await stranger.submit(one, path, fields);
      assert.deepEqual([shown.status, shown.headers.get('location')], [303, '/login']);
    }
  });

  test('a form on another site cannot act for a visitor', async () => {
    const ada = await Visitor.loggedIn(one, 'Ada');
    for (const origin of ['https://evil.example', 'null', `${one.url}.evil.example`]) {
      const response = await ada.submit(one, '/basket', { item: 'anchor' }, { origin });
      assert.equal(response.status, 403, origin);
    }
    const own = await ada.submit(one, '/basket', { item: 'bell' }, { origin: one.url });
    assert.equal(own.status, 303);
    const behindBalancer = { origin: 'https://shop.example.com', 'x-forwarded-host': 'shop.example.com' };
    assert.equal((await ada.submit(one, '/basket', { item: 'bell' }, behindBalancer)).status, 303);
    assert.deepEqual(await ada.get(one, '/basket'), { user: 'Ada', items: ['bell', 'bell'] });
  });
});

suite('Pages', () => {
  test('whatever a visitor wrote is shown as text, never as markup', async () => {
    const attack = `<script>alert("x")</script>'&`;
    const visitor = new Visitor();
    assert.equal((await visitor.submit(one, '/login', { user: attack })).status, 303);
    await visitor.submit(one, '/basket', { item: attack });
    await visitor.submit(one, '/notes', { key: 'k', value: attack });
    for (const path of ['/', '/basket', '/notes', '/whoami', '/login']) {
      const response = await visitor.page(one, path);
      assert.equal(response.status, 200);
      assert.match(response.headers.get('content-security-policy') ?? '', /^default-src 'none'/);
      const page = await response.text();
      assert.doesNotMatch(page, /<script/i, path);
      assert.match(page, /&lt;script&gt;alert\(&quot;x&quot;\)&lt;\/script&gt;&#39;&amp;/, path);
    }
    const refused = await visitor.submit(one, '/notes', { key: '<b>', value: 'v' });
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /That did not work/);
  });

  test('a person sees who they are, which instance answered, visits and basket', async () => {
    const visitor = new Visitor();
    await visitor.submit(one, '/login', { user: 'Grace' });
    await visitor.submit(one, '/basket', { item: 'lantern' });
    await visitor.page(two, '/whoami');
    const page = await (await visitor.page(two, '/')).text();
    for (const shown of ['Grace, 1 visit', 'Basket (1)', 'shop-2', 'Storm lantern', '€29.75']) {
      assert.ok(page.includes(shown), shown);
    }
  });
});

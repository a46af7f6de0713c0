import assert from 'node:assert/strict';
import type { EngineOptions } from '../../balancer/engine.ts';
import { setCookieOf } from './client.ts';
import { belongsTo, type Scene, setScene, testHealth } from './scene.ts';
import type { Suite } from './suite.ts';

/** What keeps a user with one instance: the balancer's cookie, the application's, a header, or the address. */
export function stickyTests(suite: Suite): void {
  cookieTests(suite);
  sessionTests(suite);
  applicationTests(suite);
  hashTests(suite);
}

/** Where the application sets these cookies. */
const setting = (...lines: string[]): string =>
  `/say?${lines.map((line) => `header=${encodeURIComponent(`Set-Cookie: ${line}`)}`).join('&')}`;

function cookieTests({ start, test }: Suite): void {
  test('the sticky cookie has the name and the attributes that it was given', async (t) => {
    const sticky = { kind: 'cookie', cookie: 'seat', maxAgeMs: 3_600_000, sameSite: 'strict' } as const;
    const scene = await setScene(t, start, { engine: { sticky } });
    const [line = '', ...others] = (await scene.ask('/whoami')).headers['set-cookie'] ?? [];
    assert.deepEqual(others, []);
    const [pair, ...attributes] = line.split('; ');
    assert.match(pair ?? '', /^seat=[\w.-]{22,100}$/);
    assert.deepEqual(attributes.sort(), ['HttpOnly', 'Max-Age=3600', 'Path=/', 'SameSite=Strict']);
    assert.equal((await scene.ask('/whoami', { headers: belongsTo('shop-2', 'seat') })).body, 'shop-2');
  });

  test('a user is known at every balancer of the cluster', async (t) => {
    const scene = await setScene(t, start);
    const other = await start({ listen: { host: '127.0.0.1', port: 0 }, health: testHealth });
    t.after(() => other.close({ graceMs: 0 }));
    other.apply(scene.table());
    await other.settled?.();
    for (let i = 0; i < 6; i++) {
      const visitor = scene.visitor();
      const home = await visitor.whereabouts();
      const Cookie = `holdfast=${visitor.cookies.get('holdfast')}`;
      const reply = await fetch(`http://127.0.0.1:${other.status().listen.port}/whoami`, {
        headers: { Cookie },
      });
      assert.equal(await reply.text(), home);
    }
  });

  test('a user whose owner is gone stays where the rewritten cookie points, even when the owner is back', async (t) => {
    const scene = await setScene(t, start);
    const visitor = scene.visitor(belongsTo('shop-1'));
    await scene.say({ 'shop-1': 'down' });
    const reply = await visitor.ask('/whoami');
    assert.equal(reply.body, 'shop-2');
    await scene.say({ 'shop-1': 'up' });
    const moved = { Cookie: setCookieOf(reply, 'holdfast') ?? '' };
    for (let i = 0; i < 4; i++) assert.equal((await scene.ask('/whoami', { headers: moved })).body, 'shop-2');
  });
}

function sessionTests({ start, test }: Suite): void {
  const sticky = { kind: 'cookie', cookie: 'holdfast', session: 'sid' } as const;

  for (const deletion of ['sid=; Path=/; Max-Age=0', 'sid=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT']) {
    test(`who logs out belongs nowhere any more (${deletion})`, async (t) => {
      const scene = await setScene(t, start, { engine: { sticky } });
      const visitor = scene.visitor();
      const login = await visitor.ask(setting('sid=secret; Path=/; HttpOnly'));
      assert.equal(await visitor.whereabouts(), login.body);
      assert.ok(visitor.cookies.has('holdfast'));
      const logout = await visitor.ask(setting(deletion));
      assert.equal(logout.body, login.body);
      assert.deepEqual([...visitor.cookies.keys()], []);
    });
  }

  test('other cookies that are deleted, and new sessions, end no stickiness', async (t) => {
    const scene = await setScene(t, start, { engine: { sticky } });
    const visitor = scene.visitor();
    const home = await visitor.whereabouts();
    await visitor.ask(setting('sid=secret', 'theme=; Max-Age=0', 'xsid=; Max-Age=0', 'sidx=; Max-Age=0'));
    await visitor.ask(setting('sid=another; Max-Age=600'));
    for (let i = 0; i < 4; i++) assert.equal(await visitor.whereabouts(), home);
  });
}

function applicationTests({ start, test }: Suite): void {
  const sticky = { kind: 'application', session: 'XSESSIONID', cookie: 'seat' } as const;
  const engine: Partial<EngineOptions> = { sticky };
  const login = setting('XSESSIONID=secret; Path=/; HttpOnly');

  test('who is given a session stays with the instance that gave it', async (t) => {
    const scene = await setScene(t, start, { engine });
    for (let i = 0; i < 6; i++) {
      const visitor = scene.visitor();
      const home = (await visitor.ask(login)).body;
      assert.deepEqual([...visitor.cookies.keys()].sort(), ['XSESSIONID', 'seat']);
      assert.equal(visitor.cookies.get('XSESSIONID'), 'secret');
      for (let j = 0; j < 4; j++) assert.equal(await visitor.whereabouts(), home);
    }
  });

  test('the companion of a session is as well kept as the session, and only the session reaches the instance', async (t) => {
    const scene = await setScene(t, start, { engine });
    const visitor = scene.visitor();
    const line = (await visitor.ask(login)).headers['set-cookie']?.find((text) => text.startsWith('seat='));
    assert.match(line ?? '', /^seat=[\w.-]{22,100}; .*HttpOnly/);
    assert.match(line ?? '', /; SameSite=Lax/);
    const { rawHeaders } = JSON.parse((await visitor.ask('/echo')).body) as { rawHeaders: string[] };
    assert.ok(rawHeaders.includes('XSESSIONID=secret'), String(rawHeaders));
    assert.doesNotMatch(rawHeaders.join(), /seat/);
  });

  test('without a session nobody is given a cookie, and nobody stays', async (t) => {
    const scene = await setScene(t, start, { engine });
    const visitor = scene.visitor();
    const seen = new Set<string>();
    for (let i = 0; i < 30; i++) seen.add(await visitor.whereabouts());
    assert.deepEqual([...seen].sort(), ['shop-1', 'shop-2']);
    assert.equal(visitor.cookies.size, 0);
  });

  test('when the application deletes its session the companion is deleted', async (t) => {
    const scene = await setScene(t, start, { engine });
    const visitor = scene.visitor();
    await visitor.ask(login);
    await visitor.ask(setting('XSESSIONID=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT'));
    assert.equal(visitor.cookies.size, 0);
  });

  test('a session whose instance is gone belongs to the next one', async (t) => {
    const scene = await setScene(t, start, { engine });
    const visitor = scene.visitor();
    const home = (await visitor.ask(login)).body;
    await scene.say({ [home]: 'lost' });
    const next = await visitor.whereabouts();
    assert.notEqual(next, home);
    await scene.say({ [home]: 'up' });
    for (let i = 0; i < 6; i++) assert.equal(await visitor.whereabouts(), next);
  });
}

const instances = ['shop-1', 'shop-2', 'shop-3'];

/** Where each of so many keys is served, asked twice, so that a wanderer is found. */
async function homes(scene: Scene, headersOf: (key: number) => Record<string, string>): Promise<string[]> {
  const found: string[] = [];
  for (let key = 0; key < 24; key++) {
    const first = await scene.ask('/whoami', { headers: headersOf(key) });
    const second = await scene.ask('/whoami', { headers: headersOf(key) });
    assert.equal(first.body, second.body, `key ${key} stays`);
    assert.equal(first.headers['set-cookie'], undefined);
    found.push(first.body);
  }
  return found;
}

function hashTests({ start, test }: Suite): void {
  const byHeader: Partial<EngineOptions> = { sticky: { kind: 'header', header: 'X-Tenant' } };
  const byAddress: Partial<EngineOptions> = { sticky: { kind: 'address' } };
  const ways = [
    ['header', byHeader, (key: number) => ({ 'X-Tenant': `tenant-${key}` })],
    [
      'client address',
      { ...byAddress, trustedProxies: ['127.0.0.1'] },
      (key: number) => ({ 'X-Forwarded-For': `203.0.113.${key}` }),
    ],
  ] as const;

  for (const [what, engine, headersOf] of ways) {
    test(`by ${what}: each keeps its instance, all instances have some, and no cookie is set`, async (t) => {
      const scene = await setScene(t, start, { instances, engine });
      assert.deepEqual([...new Set(await homes(scene, headersOf))].sort(), instances);
    });

    test(`by ${what}: when an instance goes only its own users move, and they come back`, async (t) => {
      const scene = await setScene(t, start, { instances, engine });
      const before = await homes(scene, headersOf);
      await scene.say({ 'shop-1': 'down' });
      const between = await homes(scene, headersOf);
      for (const [key, home] of before.entries()) {
        if (home === 'shop-1') assert.notEqual(between[key], 'shop-1');
        else assert.equal(between[key], home);
      }
      await scene.say({ 'shop-1': 'up' });
      assert.deepEqual(await homes(scene, headersOf), before);
    });
  }

  test('by header: a request without it is served by anyone', async (t) => {
    const scene = await setScene(t, start, { engine: byHeader });
    const users = await scene.newUsers(30);
    assert.ok(users('shop-1') > 0 && users('shop-2') > 0);
  });

  test('P10: by client address: what an unknown client claims to be changes nothing', async (t) => {
    const scene = await setScene(t, start, { instances, engine: byAddress });
    const seen = new Set<string>();
    for (let key = 0; key < 12; key++) {
      const headers = { 'X-Forwarded-For': `203.0.113.${key}` };
      seen.add((await scene.ask('/whoami', { headers })).body);
    }
    assert.equal(seen.size, 1);
  });
}

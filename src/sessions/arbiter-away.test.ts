import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, afterEach, before, test } from 'node:test';
import fastifyCookie from '@fastify/cookie';
import fastifySession from '@fastify/session';
import express from 'express';
import expressSession from 'express-session';
import fastify from 'fastify';
import { openArbiter } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { openBrowser } from './fixtures/browser.ts';
import { eventually } from './fixtures/eventually.ts';
import { mergeCounter, openSessions, type Sessions, type SessionsOptions } from './index.ts';

declare module 'express-session' {
  interface SessionData {
    user: string;
    visits: number;
  }
}

let postgres: TestPostgres;
let url: string;
let closing: (() => Promise<unknown>)[] = [];

before(async () => {
  postgres = await startTestPostgres();
  url = await postgres.createDatabase();
});
afterEach(async () => {
  for (const close of closing.reverse()) await close();
  closing = [];
});
after(() => postgres.stop());

interface Instance {
  readonly url: string;
  readonly sessions: Sessions;
}

async function startInstance(options: SessionsOptions): Promise<Instance> {
  const sessions = openSessions({ database: url, merge: { visits: mergeCounter }, ...options });
  const app = express();
  app.set('env', 'test');
  app.use(sessions.express(expressSession, { secret: 'not a secret', cookie: { maxAge: 60_000 } }));
  app.get('/visits', (request, response) => void response.json(request.session.visits ?? 0));
  app.post('/visit', (request, response) => {
    request.session.visits = (request.session.visits ?? 0) + 1;
    response.redirect(`/visits/${request.session.visits}`);
  });
  app.post('/logout', (request, response, next) =>
    request.session.destroy((error) => (error ? next(error) : response.send('bye'))),
  );
  const server = await new Promise<Server>((resolve) => {
    const listening = app.listen(0, '127.0.0.1', () => resolve(listening));
  });
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
    await sessions.close();
  });
  // A copy from before the listener's first connection is dropped by it.
  await eventually('the listener is heard', () => sessions.status().listenerHeardMsAgo !== undefined);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sessions };
}

/** The arbiter stands still, and somebody has noticed. */
async function freeze({ url: instanceUrl, sessions }: Instance): Promise<void> {
  postgres.freeze();
  const probing = openBrowser();
  await eventually('the arbiter is known to be away', async () => {
    await probing.post(`${instanceUrl}/visit`); // asks the arbiter
    return sessions.status().away;
  });
}

async function thaw({ sessions }: Instance): Promise<void> {
  postgres.thaw();
  await eventually('the arbiter is back and all is settled', () => {
    const { away, deferred } = sessions.status();
    return !away && deferred === 0;
  });
}

test('P9: with the policy fail, a request that needs its session gets a 503 at once, and none an empty session', async () => {
  const instance = await startInstance({ away: 'fail' });
  const user = openBrowser();
  await user.post(`${instance.url}/visit`);
  await freeze(instance);
  try {
    const startMs = performance.now();
    for (let request = 0; request < 10; request++) {
      const answer = await user.get(`${instance.url}/visits`);
      assert.equal(answer.status, 503);
      assert.match(answer.text, /session cannot be read at the moment/);
      assert.doesNotMatch(answer.text, /\.ts:|\.js:/);
      assert.equal(answer.headers.get('retry-after'), '1');
    }
    assert.ok(performance.now() - startMs < 1_000, 'nobody waits for a deadline');
    assert.equal((await openBrowser().get(`${instance.url}/visits`)).status, 200);
    const changed = await openBrowser().post(`${instance.url}/visit`);
    assert.deepEqual([changed.status, changed.headers.get('location')], [503, null]);
  } finally {
    await thaw(instance);
  }
  assert.equal((await user.get(`${instance.url}/visits`)).text, '1');
});

test('P9: with the policy readonly, cached sessions are served and a change is refused', async () => {
  const instance = await startInstance({ away: 'readonly' });
  const [user, stranger] = [openBrowser(), openBrowser()];
  await user.post(`${instance.url}/visit`);
  const elsewhere = await startInstance({ away: 'readonly' });
  await stranger.post(`${elsewhere.url}/visit`);
  await freeze(instance);
  try {
    assert.equal((await user.get(`${instance.url}/visits`)).text, '1');
    const refused = await user.post(`${instance.url}/visit`);
    assert.deepEqual([refused.status, refused.headers.get('location')], [503, null]);
    assert.match(refused.text, /Nothing can be changed at the moment/);
    assert.equal((await user.post(`${instance.url}/logout`)).status, 503);
    assert.equal((await user.get(`${instance.url}/visits`)).text, '1');
    assert.equal((await stranger.get(`${instance.url}/visits`)).status, 503);
  } finally {
    await thaw(instance);
  }
  assert.equal((await user.post(`${instance.url}/visit`)).headers.get('location'), '/visits/2');
  assert.equal((await stranger.get(`${instance.url}/visits`)).text, '1');
});

test('P9: with the policy defer, changes are kept, visible, and saved when the arbiter is back', async () => {
  const instance = await startInstance({ away: 'defer' });
  const other = await startInstance({ away: 'defer' });
  const [user, leaving] = [openBrowser(), openBrowser()];
  await user.post(`${instance.url}/visit`);
  await user.get(`${other.url}/visits`);
  await leaving.post(`${instance.url}/visit`);
  const old = openBrowser(new Map(leaving.cookies));
  const arriving = openBrowser();
  await freeze(instance);
  try {
    for (const visits of [2, 3, 4]) {
      const answer = await user.post(`${instance.url}/visit`);
      assert.equal(answer.headers.get('location'), `/visits/${visits}`);
      assert.equal((await user.get(`${instance.url}/visits`)).text, String(visits));
    }
    await Promise.all([user.post(`${instance.url}/visit`), user.post(`${instance.url}/visit`)]);
    assert.equal((await user.get(`${instance.url}/visits`)).text, '6');
    assert.equal(
      (await user.get(`${other.url}/visits`)).status,
      503,
      'an older copy is not passed off as current',
    );
    assert.equal((await arriving.post(`${instance.url}/visit`)).status, 302);
    assert.equal((await arriving.get(`${instance.url}/visits`)).text, '1');
    assert.equal((await leaving.post(`${instance.url}/logout`)).status, 200);
    assert.equal((await leaving.get(`${instance.url}/visits`)).text, '0');
    assert.ok(instance.sessions.status().deferred >= 3);
  } finally {
    await thaw(instance);
  }
  await eventually('the other instance is back', () => !other.sessions.status().away);
  for (const { url: at } of [instance, other]) {
    assert.equal((await user.get(`${at}/visits`)).text, '6');
    assert.equal((await arriving.get(`${at}/visits`)).text, '1');
    assert.equal((await old.get(`${at}/visits`)).text, '0');
  }
});

test('P9: the arbiter may be stopped and started again', async () => {
  const instance = await startInstance({ away: 'defer' });
  const user = openBrowser();
  await user.post(`${instance.url}/visit`);
  await postgres.halt();
  assert.equal((await user.post(`${instance.url}/visit`)).headers.get('location'), '/visits/2');
  assert.equal((await user.post(`${instance.url}/visit`)).headers.get('location'), '/visits/3');
  await postgres.start();
  await eventually('the changes are saved', () => instance.sessions.status().deferred === 0);
  assert.equal((await user.get(`${instance.url}/visits`)).text, '3');
});

test('P6: a save whose answer was lost is not applied twice', async () => {
  const arbiter = openArbiter({ url });
  closing.push(() => arbiter.close());
  let lose = false;
  const losing = {
    ...arbiter,
    query: (async (text: string, values?: readonly unknown[], options?: object) => {
      const rows = await arbiter.query<never>(text, values, options);
      if (lose && text.includes('session_save')) {
        lose = false;
        postgres.freeze();
        return arbiter.query<never>('select 1', [], { deadlineMs: 50 }); // what a lost answer looks like
      }
      return rows;
    }) as typeof arbiter.query,
  };
  const instance = await startInstance({ away: 'defer', database: losing });
  const user = openBrowser();
  await user.post(`${instance.url}/visit`);
  lose = true;
  assert.equal((await user.post(`${instance.url}/visit`)).headers.get('location'), '/visits/2');
  assert.equal((await user.post(`${instance.url}/visit`)).headers.get('location'), '/visits/3');
  await thaw(instance);
  assert.equal((await user.get(`${instance.url}/visits`)).text, '3');
});

test('P9: with Fastify a refused save is one clear 503 and not a sent page', async () => {
  const sessions = openSessions({ database: url, away: 'fail' });
  const app = fastify();
  await app.register(fastifyCookie);
  const secret = 'a secret of at least thirty-two characters';
  await app.register(sessions.fastify(fastifySession, { secret, cookie: { secure: false } }));
  app.post('/login', async (request, reply) => {
    request.session.set('user' as never, 'ada' as never);
    return reply.redirect('/');
  });
  app.get('/', async (request) => ({ user: request.session.get('user' as never) ?? null }));
  const at = await app.listen({ port: 0, host: '127.0.0.1' });
  closing.push(async () => {
    await app.close();
    await sessions.close();
  });
  const user = openBrowser();
  await user.post(`${at}/login`);
  await postgres.halt();
  try {
    const refused = await openBrowser().post(`${at}/login`);
    assert.equal(refused.status, 503);
    assert.equal(JSON.parse(refused.text).code, 'SESSION_UNAVAILABLE');
    assert.equal((await user.get(`${at}/`)).status, 503);
  } finally {
    await postgres.start();
  }
  await eventually('the arbiter is back', () => !sessions.status().away);
  assert.equal((await user.get(`${at}/`)).text, '{"user":"ada"}');
});

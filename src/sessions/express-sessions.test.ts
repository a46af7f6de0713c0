import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import express from 'express';
import expressSession from 'express-session';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { openBrowser } from './fixtures/browser.ts';
import { eventually } from './fixtures/eventually.ts';
import { slowSaves } from './fixtures/slow-saves.ts';
import { mergeCounter, openSessions, type Sessions, type SessionsOptions } from './index.ts';

declare module 'express-session' {
  interface SessionData {
    user: string;
    visits: number;
    [key: `key${number}`]: string;
  }
}

let postgres: TestPostgres;
let arbiter: Arbiter;
const closing: (() => Promise<unknown>)[] = [];

before(async () => {
  postgres = await startTestPostgres();
  arbiter = openArbiter({ url: await postgres.createDatabase(), max: 12 });
});
after(async () => {
  for (const close of closing.reverse()) await close();
  await arbiter.close();
  await postgres.stop();
});

interface Instance {
  readonly url: string;
  readonly sessions: Sessions;
  /** Lets the requests to /slow go on. */
  release(): void;
  readonly waiting: number;
}

async function startInstance(
  options: SessionsOptions = {},
  wrap: (app: express.Express, sessions: Sessions) => void = (app, sessions) =>
    app.use(sessions.express(expressSession, { secret: 'not a secret', cookie: { maxAge: 60_000 } })),
): Promise<Instance> {
  const sessions = openSessions({ database: arbiter, merge: { visits: mergeCounter }, ...options });
  const app = express();
  app.set('env', 'test');
  wrap(app, sessions);
  let waiting: (() => void)[] = [];

  app.post('/login/:user', (request, response, next) => {
    request.session.regenerate((error) => {
      if (error) return next(error);
      request.session.user = request.params.user;
      response.redirect('/whoami');
    });
  });
  app.post('/become/:user', (request, response) => {
    request.session.user = request.params.user;
    response.send('done');
  });
  app.post('/visit-in-the-background', (request, response) => {
    response.send('soon');
    request.session.visits = (request.session.visits ?? 0) + 1;
    setImmediate(() => request.session.save());
  });
  app.get('/whoami', (request, response) => void response.json(request.session.user ?? null));
  app.post('/visit', (request, response) => {
    request.session.visits = (request.session.visits ?? 0) + 1;
    response.json(request.session.visits);
  });
  app.get('/visits', (request, response) => void response.json(request.session.visits ?? 0));
  app.post('/set/:number', (request, response) => {
    request.session[`key${Number(request.params.number)}`] = 'set';
    response.writeHead(204, { 'Set-Cookie': 'mine=1' });
    response.end();
  });
  app.get('/keys', (request, response) => {
    response.json(Object.keys(request.session).filter((key) => key.startsWith('key')));
  });
  app.post('/slow', async (request, response) => {
    request.session.visits = 100;
    await new Promise<void>((resolve) => waiting.push(resolve));
    response.send('done');
  });
  app.post('/stream', (request, response) => {
    request.session.user = 'streamed';
    response.write('one ');
    response.write('two ', () => {
      request.session.key1 = 'later';
      response.end('three');
    });
  });
  app.post('/logout', (request, response) => request.session.destroy(() => response.send('bye')));
  app.post('/sent-then-thrown', (request, response) => {
    request.session.user = 'sent';
    response.send('sent');
    throw new Error('after the answer');
  });
  app.use(
    (
      error: Error & { statusCode?: number },
      _: express.Request,
      response: express.Response,
      next: () => void,
    ) => {
      if (response.headersSent) next();
      else response.status(error.statusCode ?? 500).send(error.message);
    },
  );
  const server = await new Promise<Server>((resolve) => {
    const listening = app.listen(0, '127.0.0.1', () => resolve(listening));
  });
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
    await sessions.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sessions,
    release: () => {
      for (const resolve of waiting) resolve();
      waiting = [];
    },
    get waiting() {
      return waiting.length;
    },
  };
}

async function countRows(): Promise<number> {
  const [row] = await arbiter.query<{ rows: number }>('select count(*)::int as rows from holdfast.session');
  return row?.rows ?? 0;
}

test('P6: a redirect is not sent before its session is saved', async () => {
  const slow = await startInstance({ database: slowSaves(arbiter, 150) });
  const other = await startInstance();
  const user = openBrowser();
  const answer = await user.post(`${slow.url}/login/ada`);
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.get('location'), '/whoami');
  assert.equal((await user.get(`${other.url}/whoami`)).text, '"ada"');
});

test('an anonymous visitor who stores nothing causes no row and gets no cookie', async () => {
  const { url } = await startInstance();
  const rows = await countRows();
  const answer = await openBrowser().get(`${url}/whoami`);
  assert.equal(answer.text, 'null');
  assert.deepEqual(answer.setCookies, []);
  assert.equal(await countRows(), rows);
});

test('a user whose cookie names the cached version is served without asking the arbiter', async () => {
  const { url, sessions } = await startInstance();
  const user = openBrowser();
  await user.post(`${url}/login/ada`);
  await eventually('the listener is heard', () => sessions.status().listenerHeardMsAgo !== undefined);
  await user.get(`${url}/whoami`);
  const { asked } = sessions.status();
  for (let request = 0; request < 50; request++)
    assert.equal((await user.get(`${url}/whoami`)).text, '"ada"');
  assert.equal(sessions.status().asked, asked);
  assert.ok(sessions.status().hits >= 50);
});

test('P6: a user who comes back to the first instance does not see its old copy', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/visit`);
  for (let round = 0; round < 5; round++) {
    for (const { url } of [one, other]) {
      const before = Number((await user.get(`${url}/visits`)).text);
      assert.equal((await user.post(`${url}/visit`)).text, String(before + 1));
    }
  }
  assert.equal((await user.get(`${one.url}/visits`)).text, '11');
});

test('P6: a version cookie that was overtaken by a newer one proves nothing when it arrives after all', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/set/1`);
  await user.get(`${one.url}/keys`); // from here on the first instance would answer from memory
  const slow = openBrowser(new Map([['connect.sid', user.cookies.get('connect.sid') ?? '']]));
  await slow.get(`${one.url}/keys`);
  await user.post(`${other.url}/set/2`);
  user.cookies.set('connect.sid.v', slow.cookies.get('connect.sid.v') ?? '');
  assert.deepEqual((JSON.parse((await user.get(`${one.url}/keys`)).text) as string[]).sort(), [
    'key1',
    'key2',
  ]);
});

test('what is saved after the headers were sent is notified to the other instances', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/set/2`);
  await user.post(`${one.url}/stream`);
  for (let request = 0; request < 2; request++) await user.get(`${other.url}/keys`);
  assert.equal(other.sessions.status().cached, 1);
  await user.post(`${one.url}/visit-in-the-background`);
  await eventually('the other instance has dropped its copy', () => other.sessions.status().cached === 0);
  assert.equal((await user.get(`${other.url}/visits`)).text, '1');
});

test('a request that knows nothing of a login does not hide whose session it is', async () => {
  const instance = await startInstance();
  const user = openBrowser();
  await user.post(`${instance.url}/visit`);
  const late = openBrowser(new Map(user.cookies)).post(`${instance.url}/slow`);
  await eventually('the slow request runs', () => instance.waiting === 1);
  await user.post(`${instance.url}/become/ada-without-a-new-id`);
  instance.release();
  await late;
  assert.equal((await instance.sessions.list({ user: 'ada-without-a-new-id' })).length, 1);
});

test('a forged or foreign version cookie is worth nothing', async () => {
  const { url, sessions } = await startInstance();
  const [user, another] = [openBrowser(), openBrowser()];
  await user.post(`${url}/login/ada`);
  await another.post(`${url}/login/bob`);
  for (const forged of [
    another.cookies.get('connect.sid.v') ?? '',
    '1.0.x',
    `4294967296.0.${'A'.repeat(43)}`,
    '%',
  ]) {
    user.cookies.set('connect.sid.v', forged);
    const { hits } = sessions.status();
    assert.equal((await user.get(`${url}/whoami`)).text, '"ada"');
    assert.equal(sessions.status().hits, hits);
  }
});

test('the version cookie has the attributes of the session cookie', async () => {
  const { url } = await startInstance({}, (app, sessions) =>
    app.use(
      sessions.express(expressSession, {
        secret: ['new', 'old'],
        name: 'sid',
        cookie: { path: '/', sameSite: 'strict', domain: 'example.com' },
      }),
    ),
  );
  const { setCookies } = await openBrowser().post(`${url}/visit`);
  const version = setCookies.find((line) => line.startsWith('sid.v='));
  assert.match(version ?? '', /; Path=\/; HttpOnly; Domain=example.com; SameSite=Strict$/);
});

test('headers given to writeHead and both session cookies arrive together', async () => {
  const { url } = await startInstance();
  const { status, setCookies } = await openBrowser().post(`${url}/set/1`);
  assert.equal(status, 204);
  assert.deepEqual(setCookies.map((line) => line.split('=')[0]).sort(), [
    'connect.sid',
    'connect.sid.v',
    'mine',
  ]);
});

test('P6: concurrent requests on two instances lose no key', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/login/ada`);
  const numbers = Array.from({ length: 20 }, (_, number) => number);
  await Promise.all(numbers.map((number) => user.post(`${(number % 2 ? one : other).url}/set/${number}`)));
  const keys = JSON.parse((await user.get(`${one.url}/keys`)).text) as string[];
  assert.deepEqual(keys.sort(), numbers.map((number) => `key${number}`).sort());
});

test('P6: a merged counter counts every one of many concurrent requests', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/login/ada`);
  await Promise.all(Array.from({ length: 20 }, (_, n) => user.post(`${(n % 2 ? one : other).url}/visit`)));
  assert.equal((await user.get(`${one.url}/visits`)).text, '20');
});

test('P6: a request that was under way during the logout does not bring the session back', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/login/ada`);
  const copy = openBrowser(new Map(user.cookies));
  const late = copy.post(`${other.url}/slow`);
  await eventually('the slow request runs', () => other.waiting === 1);
  await user.post(`${one.url}/logout`);
  other.release();
  assert.equal((await late).status, 200);
  for (const { url } of [one, other]) assert.equal((await user.get(`${url}/whoami`)).text, 'null');
});

test('a login under a new id ends the old session', async () => {
  const { url } = await startInstance();
  const user = openBrowser();
  await user.post(`${url}/visit`);
  const before = openBrowser(new Map(user.cookies));
  await user.post(`${url}/login/ada`);
  assert.equal((await user.get(`${url}/visits`)).text, '0');
  assert.equal((await user.get(`${url}/whoami`)).text, '"ada"');
  assert.equal((await before.get(`${url}/visits`)).text, '0');
});

test('P6: a streamed response is complete, and so is its session when it ends', async () => {
  const { url } = await startInstance({ database: slowSaves(arbiter, 50) });
  const user = openBrowser();
  assert.equal((await user.post(`${url}/stream`)).text, 'one two three');
  assert.equal((await user.get(`${url}/whoami`)).text, '"streamed"');
  assert.equal((await user.get(`${url}/keys`)).text, '["key1"]');
});

test('an error after the answer changes nothing of the answer', async () => {
  const { url } = await startInstance({ database: slowSaves(arbiter, 50) });
  const answer = await openBrowser().post(`${url}/sent-then-thrown`);
  assert.deepEqual([answer.status, answer.text], [200, 'sent']);
});

test('revoking a user ends that user’s sessions on every instance, and nobody else’s', async () => {
  const [one, other] = [
    await startInstance({ instance: 'shop-1' }),
    await startInstance({ instance: 'shop-2' }),
  ];
  const [laptop, phone, bob] = [openBrowser(), openBrowser(), openBrowser()];
  await laptop.post(`${one.url}/login/revoked`);
  await phone.post(`${other.url}/login/revoked`);
  await bob.post(`${other.url}/login/bob`);
  assert.deepEqual((await one.sessions.list({ user: 'revoked' })).map(({ instance }) => instance).sort(), [
    'shop-1',
    'shop-2',
  ]);
  assert.equal(await one.sessions.revokeUser('revoked'), 2);
  for (const [user, { url }] of [
    [laptop, one],
    [phone, other],
  ] as const) {
    await eventually('the user is out', async () => (await user.get(`${url}/whoami`)).text === 'null');
  }
  assert.equal((await bob.get(`${other.url}/whoami`)).text, '"bob"');
  assert.deepEqual(await one.sessions.list({ user: 'revoked' }), []);
});

test('one session is revoked by the beginning of its listed id, or by its own', async () => {
  const { url, sessions } = await startInstance();
  const user = openBrowser();
  await user.post(`${url}/login/listed`);
  const [listed] = await sessions.list({ user: 'listed' });
  assert.equal(await sessions.revoke(listed?.id.slice(0, 12) ?? ''), true);
  assert.equal(await sessions.revoke(listed?.id ?? ''), false);
  await user.post(`${url}/login/listed`);
  const id =
    decodeURIComponent(user.cookies.get('connect.sid') ?? '')
      .slice(2)
      .split('.')[0] ?? '';
  assert.equal(await sessions.revoke(id), true);
});

test('the bare store works in express-session itself', async () => {
  const { url, sessions } = await startInstance({}, (app, own) =>
    app.use(
      expressSession({ secret: 's', resave: false, saveUninitialized: false, store: own.store as never }),
    ),
  );
  const user = openBrowser();
  await user.post(`${url}/login/ada`);
  assert.equal((await user.get(`${url}/whoami`)).text, '"ada"');
  await Promise.all([1, 2, 3].map((number) => user.post(`${url}/set/${number}`)));
  assert.deepEqual((JSON.parse((await user.get(`${url}/keys`)).text) as string[]).sort(), [
    'key1',
    'key2',
    'key3',
  ]);
  assert.equal(sessions.status().hits, 0);
});

test('P10: a session that cannot be stored is an error that names the key, and is not half saved', async () => {
  const { url } = await startInstance({}, (app, sessions) => {
    app.use(sessions.express(expressSession, { secret: 's' }));
    app.post('/circle', (request, response) => {
      request.session.user = 'eve';
      Object.assign(request.session, { amount: 1n });
      response.redirect('/whoami');
    });
  });
  const user = openBrowser();
  await user.post(`${url}/login/ada`);
  const answer = await user.post(`${url}/circle`);
  assert.equal(answer.status, 500);
  assert.match(answer.text, /amount/);
  assert.equal(answer.headers.get('location'), null);
  assert.equal((await user.get(`${url}/whoami`)).text, '"ada"');
});

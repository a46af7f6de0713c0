import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fastifyCookie from '@fastify/cookie';
import fastifySession from '@fastify/session';
import fastify, { type FastifyInstance } from 'fastify';
import { type Arbiter, openArbiter } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { openBrowser } from './fixtures/browser.ts';
import { eventually } from './fixtures/eventually.ts';
import { slowSaves } from './fixtures/slow-saves.ts';
import { mergeCounter, openSessions, type Sessions, type SessionsOptions } from './index.ts';

declare module 'fastify' {
  interface Session {
    user?: string;
    visits?: number;
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

const secret = 'a secret of at least thirty-two characters';

interface Instance {
  readonly url: string;
  readonly sessions: Sessions;
  release(): void;
  readonly waiting: number;
}

async function startInstance(
  options: SessionsOptions = {},
  register: (app: FastifyInstance, sessions: Sessions) => unknown = (app, sessions) =>
    app.register(sessions.fastify(fastifySession, { secret, cookie: { secure: false, maxAge: 60_000 } })),
): Promise<Instance> {
  const sessions = openSessions({ database: arbiter, merge: { visits: mergeCounter }, ...options });
  const app = fastify();
  let waiting: (() => void)[] = [];
  await app.register(fastifyCookie);
  await register(app, sessions);

  app.post<{ Params: { user: string } }>('/login/:user', async (request, reply) => {
    await request.session.regenerate();
    request.session.user = request.params.user;
    return reply.redirect('/whoami');
  });
  app.get('/whoami', async (request) => ({ user: request.session.user ?? null }));
  app.post('/visit', async (request) => {
    request.session.visits = (request.session.visits ?? 0) + 1;
    return request.session.visits;
  });
  app.get('/visits', async (request) => request.session.visits ?? 0);
  app.post<{ Params: { number: string } }>('/set/:number', async (request) => {
    request.session[`key${Number(request.params.number)}`] = 'set';
    return 'set';
  });
  app.get('/keys', async (request) => Object.keys(request.session).filter((key) => key.startsWith('key')));
  app.post('/reload', async (request) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    await request.session.reload();
    request.session.visits = (request.session.visits ?? 0) + 1;
    return request.session.visits;
  });
  app.post('/slow', async (request) => {
    request.session.visits = 100;
    await new Promise<void>((resolve) => waiting.push(resolve));
    return 'done';
  });
  app.post('/twice', async (request) => {
    request.session.visits = (request.session.visits ?? 0) + 1;
    await request.session.save();
    request.session.visits += 1;
    return request.session.visits;
  });
  app.post('/logout', async (request) => {
    await request.session.destroy();
    return 'bye';
  });
  app.post('/circle', async (request) => {
    request.session.user = 'eve';
    Object.assign(request.session, { circle: { toJSON: () => assert.fail('no JSON') } });
    return 'done';
  });
  const url = await app.listen({ port: 0, host: '127.0.0.1' });
  closing.push(async () => {
    await app.close();
    await sessions.close();
  });
  return {
    url,
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

const userOf = (text: string) => (JSON.parse(text) as { user: string | null }).user;

test('P6: a redirect is not sent before its session is saved', async () => {
  const slow = await startInstance({ database: slowSaves(arbiter, 150) });
  const other = await startInstance();
  const user = openBrowser();
  const answer = await user.post(`${slow.url}/login/ada`);
  assert.equal(answer.status, 302);
  assert.equal(userOf((await user.get(`${other.url}/whoami`)).text), 'ada');
});

test('an anonymous visitor who stores nothing causes no row and gets no cookie', async () => {
  const { url, sessions } = await startInstance();
  const answer = await openBrowser().get(`${url}/whoami`);
  assert.equal(userOf(answer.text), null);
  assert.deepEqual(answer.setCookies, []);
  assert.equal(sessions.status().saves, 0);
});

test('reading costs no statement, though @fastify/session saves on every request', async () => {
  const { url, sessions } = await startInstance();
  const user = openBrowser();
  await user.post(`${url}/login/ada`);
  await eventually('the listener is heard', () => sessions.status().listenerHeardMsAgo !== undefined);
  await user.get(`${url}/whoami`);
  const { asked, saves } = sessions.status();
  for (let request = 0; request < 50; request++) await user.get(`${url}/whoami`);
  assert.deepEqual([sessions.status().asked, sessions.status().saves], [asked, saves]);
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

test('P6: concurrent requests lose no key, on one instance or on two', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/login/ada`);
  const numbers = Array.from({ length: 20 }, (_, number) => number);
  await Promise.all(numbers.map((number) => user.post(`${(number % 4 ? one : other).url}/set/${number}`)));
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

test('after a reload, a request starts from what it reloaded', async () => {
  const instance = await startInstance();
  const user = openBrowser();
  await user.post(`${instance.url}/visit`);
  const late = openBrowser(new Map(user.cookies)).post(`${instance.url}/reload`);
  await eventually('the request waits', () => instance.waiting === 1);
  await user.post(`${instance.url}/visit`);
  instance.release();
  assert.equal((await late).text, '3');
  assert.equal((await user.get(`${instance.url}/visits`)).text, '3');
});

test('a request that saves twice counts twice', async () => {
  const { url } = await startInstance();
  const user = openBrowser();
  await user.post(`${url}/twice`);
  await user.post(`${url}/twice`);
  assert.equal((await user.get(`${url}/visits`)).text, '4');
});

test('P6: a request that was under way during the logout does not bring the session back', async () => {
  const [one, other] = [await startInstance(), await startInstance()];
  const user = openBrowser();
  await user.post(`${one.url}/login/ada`);
  const late = openBrowser(new Map(user.cookies)).post(`${other.url}/slow`);
  await eventually('the slow request runs', () => other.waiting === 1);
  await user.post(`${one.url}/logout`);
  other.release();
  assert.equal((await late).status, 200);
  for (const { url } of [one, other]) assert.equal(userOf((await user.get(`${url}/whoami`)).text), null);
});

test('P6: the bare store keeps concurrent requests apart too', async () => {
  const { url, sessions } = await startInstance({}, (app, own) =>
    app.register(fastifySession, {
      secret,
      cookie: { secure: false },
      saveUninitialized: false,
      store: own.store as never,
    }),
  );
  const user = openBrowser();
  await user.post(`${url}/login/ada`);
  await Promise.all(Array.from({ length: 10 }, (_, number) => user.post(`${url}/set/${number}`)));
  assert.equal((JSON.parse((await user.get(`${url}/keys`)).text) as string[]).length, 10);
  assert.equal(sessions.status().hits, 0);
});

test('P10: a session that cannot be stored is an error that names the key, and is not half saved', async () => {
  const { url } = await startInstance();
  const user = openBrowser();
  await user.post(`${url}/login/ada`);
  const answer = await user.post(`${url}/circle`);
  assert.equal(answer.status, 500);
  assert.equal(userOf((await user.get(`${url}/whoami`)).text), 'ada');
});

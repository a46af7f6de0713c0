/** The probe as applications mount it, in Express and in Fastify, asked by the client that the doctor uses. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import fastifyCookie from '@fastify/cookie';
import fastifySession from '@fastify/session';
import express from 'express';
import expressSession from 'express-session';
import { fastify } from 'fastify';
import type { ProbeLook } from '../../protocol/probe.ts';
import { askHttp, CookieJar } from '../http-client.ts';
import { type ProbeClient, type ProbeReply, probeClient } from '../probe-client.ts';
import { openProbe, type Probe } from './open-probe.ts';
import type { ProbeOptions } from './probe-options.ts';

const secret = 'the secret of the cluster';
const mark = '0123456789abcdef';
const path = '/holdfast/probe';
const client = (key = secret): ProbeClient => probeClient({ ask: askHttp, path, secret: key });

interface Running {
  readonly url: string;
  close(): Promise<void>;
}

const frameworks: Readonly<Record<string, (probe: Probe) => Promise<Running>>> = {
  async express(probe) {
    const app = express();
    app.set('trust proxy', 'loopback');
    app.use(express.json());
    app.use(expressSession({ secret, resave: false, saveUninitialized: false }));
    app.use(probe.express());
    const server = app.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      async close() {
        server.closeAllConnections();
        server.close();
        await once(server, 'close');
      },
    };
  },
  async fastify(probe) {
    const app = fastify({ trustProxy: 'loopback' });
    await app.register(fastifyCookie);
    await app.register(fastifySession, {
      secret: secret.repeat(2),
      cookie: { secure: false },
      saveUninitialized: false,
    });
    await app.register(probe.fastify());
    return { url: await app.listen({ port: 0, host: '127.0.0.1' }), close: () => app.close() };
  },
};

const errorOf = (reply: ProbeReply<unknown>): string => ('why' in reply ? reply.why : '');

for (const [name, start] of Object.entries(frameworks)) {
  suite(`mounted in ${name}`, () => {
    let folder: string;
    let running: Running;
    const door = (url = running.url) => ({ url, headers: {} });
    const options = (): ProbeOptions => ({
      secret,
      instance: 'shop-1',
      rootUrl: () => 'https://shop.example.com',
      files: join(folder, 'files'),
      database: async () => {
        throw new Error('the database is away');
      },
      healthWithoutDatabase: async () => ({ status: 503 }),
      settings: () => ({ currency: 'EUR' }),
      ownWork: ['clean-up'],
    });

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'holdfast-probe-'));
      await mkdir(join(folder, 'files'));
      running = await start(openProbe(options()));
    });

    after(async () => {
      await running.close();
      await rm(folder, { recursive: true, force: true });
    });

    const look = async (jar: CookieJar, headers: Record<string, string> = {}): Promise<ProbeLook> => {
      const reply = await client().look(door(), {
        jar,
        headers,
        parameters: [
          ['key', 'k'],
          ['name', 'NOT_SET'],
        ],
      });
      assert.ok(reply.kind === 'told', errorOf(reply));
      return reply.told;
    };

    test('a look tells what the application knows, and of settings only digests', async () => {
      const seen = await look(new CookieJar(), { 'x-forwarded-for': '198.51.100.7' });
      assert.equal(seen.instance, 'shop-1');
      assert.equal(seen.rootUrl, 'https://shop.example.com');
      assert.equal(seen.client, '198.51.100.7', 'by the proxies that the framework trusts');
      assert.deepEqual(seen.claims, { 'x-forwarded-for': '198.51.100.7' });
      assert.deepEqual(seen.ownWork, ['clean-up']);
      assert.equal(seen.hasSessions, true);
      assert.equal(seen.mark, null);
      assert.deepEqual(Object.keys(seen.settings), ['NOT_SET', 'application: currency']);
      for (const digest of Object.values(seen.settings)) assert.match(digest, /^[\w-]{22}$/);
      assert.ok((seen.files?.totalBytes ?? 0) > 0);
      assert.ok(Math.abs((seen.nowMs ?? 0) - Date.now()) < 60_000);
    });

    test('what is remembered is in the session of that cookie, until it is forgotten', async () => {
      const jar = new CookieJar();
      const began = await client().ask(door(), { verb: 'remember', parameters: [['mark', mark]], jar });
      assert.equal(began.kind, 'told', errorOf(began));
      assert.equal((await look(jar)).mark, mark);
      assert.equal((await look(new CookieJar())).mark, null);
      const cookies = jar.copy();
      assert.equal((await client().ask(door(), { verb: 'forget', jar })).kind, 'told');
      assert.equal((await look(cookies)).mark, null);
    });

    test('a file is written, read whole, and removed; another of that name is not overwritten', async () => {
      const onFile = (verb: 'write' | 'read' | 'remove') =>
        client().ask(door(), { verb, parameters: [['mark', mark]] });
      const before = await onFile('read');
      assert.ok(before.kind === 'told');
      assert.deepEqual(before.told, { found: false, whole: false });
      assert.equal((await onFile('write')).kind, 'told');
      const reply = await onFile('read');
      assert.ok(reply.kind === 'told');
      assert.deepEqual(reply.told, { found: true, whole: true });
      assert.equal((await onFile('write')).kind, 'refused', 'it is there already');
      await onFile('remove');
      assert.deepEqual(await readdir(join(folder, 'files')), []);
    });

    test('a file that arrived in part is found, and not whole', async () => {
      await writeFile(join(folder, 'files', `.holdfast-probe-${mark}`), `${mark}\n`);
      const reply = await client().ask(door(), { verb: 'read', parameters: [['mark', mark]] });
      await rm(join(folder, 'files', `.holdfast-probe-${mark}`));
      assert.ok(reply.kind === 'told');
      assert.deepEqual(reply.told, { found: true, whole: false });
    });

    test('P10: a name that is no mark reaches no file', async () => {
      for (const wrong of [
        '../../etc/passwd',
        '',
        'abcdefg',
        `${mark}/../x`,
        'A'.repeat(16),
        mark.repeat(5),
      ]) {
        const reply = await client().ask(door(), { verb: 'write', parameters: [['mark', wrong]] });
        assert.match(errorOf(reply), /400: mark= must be/, wrong);
      }
      assert.deepEqual(await readdir(join(folder, 'files')), []);
    });

    test('a database that is away is told with its reason, and what the health check would say', async () => {
      const reply = await client().ask(door(), { verb: 'try' });
      assert.ok(reply.kind === 'told');
      const { database, healthWithoutDatabase } = reply.told as Record<string, { error?: string }>;
      assert.equal(database?.error, 'the database is away');
      assert.deepEqual(healthWithoutDatabase, { status: 503, why: null });
    });

    test('who lacks the secret learns nothing, not even which questions there are', async () => {
      for (const wrong of ['', 'wrong', `${secret}.`, secret.slice(1)]) {
        const reply = await client(wrong).ask(door(), { verb: 'look' });
        assert.match(errorOf(reply), /403: only the doctor/, wrong);
      }
      const answer = await askHttp({ url: `${running.url}${path}?do=nonsense`, method: 'POST' });
      assert.ok('status' in answer);
      assert.equal(answer.status, 403);
    });

    test('an unknown question is refused with those that are known', async () => {
      const reply = await client().ask(door(), { verb: 'nonsense' as 'look' });
      assert.match(errorOf(reply), /400: do= must be one of look, try, remember/);
    });

    test('another path and another method are the application’s', async () => {
      for (const question of [
        { url: `${running.url}${path}`, method: 'GET' },
        { url: `${running.url}${path}/x`, method: 'POST' },
      ] as const) {
        const answer = await askHttp(question);
        assert.ok('status' in answer);
        assert.equal(answer.status, 404);
      }
    });
  });
}

test('an application that no agent started answers nobody, and says why', async () => {
  const running = await (frameworks.express as (probe: Probe) => Promise<Running>)(openProbe({}));
  const reply = await client('').look({ url: running.url, headers: {} });
  await running.close();
  assert.match(errorOf(reply), /503: .*HOLDFAST_PROBE_SECRET is not set/);
});

test('without sessions and without files the probe says so', async () => {
  const app = express();
  app.use(openProbe({ secret }).express());
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const door = { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, headers: {} };
  const parameters = [['mark', mark]] as const;
  const remembered = await client().ask(door, { verb: 'remember', parameters });
  const written = await client().ask(door, { verb: 'write', parameters });
  server.closeAllConnections();
  server.close();
  assert.match(errorOf(remembered), /501: no session/);
  assert.match(errorOf(written), /501: the probe was told of no shared files/);
});

test('what answers is told apart from what does not: no probe, a page, nobody', async () => {
  const app = express();
  app.get('/', (_request, response) => {
    response.send('shop');
  });
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const absent = await client().look({ url, headers: {} });
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  const unreached = await client().look({ url, headers: {} });
  assert.equal(absent.kind, 'absent');
  assert.equal(unreached.kind, 'unreached');
  assert.match(errorOf(unreached), /ECONNREFUSED/);
});

test('P10: a path that is none is refused when the probe is opened', () => {
  assert.throws(() => openProbe({ path: 'probe' }), /The path of the probe, "probe", is none/);
});

/** Well-behaved clients of the soak: each goes on, one request after the other, until the soak is over. */
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import type { Random } from '../../src/testing/simulation/random.ts';
import { type Ask, abortedAsk, eventsAsk, nextAsk, settle, slowAsk, smallAsk } from './soak-asks.ts';
import type { Judge } from './soak-judge.ts';
import { askHttp1, askHttp2 } from './soak-transports.ts';

export interface Scene {
  readonly judge: Judge;
  readonly random: Random;
  readonly plainPort: number;
  readonly tlsPort: number;
  isOver(): boolean;
  /** Another one each time. */
  nextId(): string;
}

type MakeAsk = (random: Random, id: string) => Ask;

const agentOptions = { keepAlive: true, maxSockets: 1, rejectUnauthorized: false };

interface UserOptions {
  readonly isSecure: boolean;
  readonly makeAsk?: MakeAsk;
  /** A connection for each request. */
  readonly isBrief?: boolean;
}

/** HTTP/1.1, one request at a time on one connection, with a cookie. */
export async function user(
  scene: Scene,
  { isSecure, makeAsk = nextAsk, isBrief }: UserOptions,
): Promise<void> {
  const keepAlive = isBrief !== true;
  const { Agent } = isSecure ? https : http;
  const agent = new Agent({ ...agentOptions, keepAlive });
  const port = isSecure ? scene.tlsPort : scene.plainPort;
  let cookie: string | undefined;
  while (!scene.isOver()) {
    const ask = makeAsk(scene.random, scene.nextId());
    const reply = await askHttp1({ port, agent }, ask, cookie);
    settle(scene.judge, ask, reply);
    cookie = scene.random.chance(0.02) ? undefined : (reply.cookie ?? cookie);
  }
  agent.destroy();
}

/** Sends the next request as soon as the last one is answered: most of the load. */
export const hurriedUser = (scene: Scene, isSecure: boolean): Promise<void> =>
  user(scene, { isSecure, makeAsk: smallAsk });

export const slowReader = (scene: Scene, isSecure: boolean): Promise<void> =>
  user(scene, { isSecure, makeAsk: slowAsk });

export const eventListener = (scene: Scene, isSecure: boolean): Promise<void> =>
  user(scene, { isSecure, makeAsk: eventsAsk });

export const aborter = (scene: Scene, isSecure: boolean): Promise<void> =>
  user(scene, { isSecure, makeAsk: abortedAsk });

/** HTTP/2, several requests at a time on one connection, which is closed and opened again now and then. */
export async function streamUser(scene: Scene, atATime: number): Promise<void> {
  while (!scene.isOver()) {
    const session = http2.connect(`https://127.0.0.1:${scene.tlsPort}`, { rejectUnauthorized: false });
    session.on('error', () => undefined); // each of its requests says so
    let left = Math.floor(scene.random.between(50, 3_000));
    const work = async () => {
      let cookie: string | undefined;
      while (!scene.isOver() && left-- > 0 && !session.closed && !session.destroyed) {
        const makeAsk = scene.random.chance(0.8)
          ? smallAsk
          : scene.random.pick([nextAsk, nextAsk, abortedAsk, slowAsk]);
        const ask = makeAsk(scene.random, scene.nextId());
        const reply = await askHttp2(session, ask, cookie);
        settle(scene.judge, ask, reply);
        cookie = reply.cookie ?? cookie;
      }
    };
    await Promise.all(Array.from({ length: atATime }, work));
    await closed(session);
  }
}

async function closed(session: http2.ClientHttp2Session): Promise<void> {
  if (session.destroyed) return;
  const end = once(session, 'close');
  session.close();
  await Promise.race([end, delay(1_000, undefined, { ref: false })]);
  session.destroy();
}

/** Several requests in one write; the answers must come in their order. */
export async function pipeliner(scene: Scene): Promise<void> {
  while (!scene.isOver()) {
    const ids = Array.from({ length: 8 }, () => scene.nextId());
    const requests = ids.map((id) => `GET /small?id=${id} HTTP/1.1\r\nHost: soak\r\n\r\n`);
    const wanted = ids.map((id) => JSON.stringify({ id }));
    const got = await answersTo(scene.plainPort, requests.join(''), ids.length);
    if (got.join() === wanted.join()) scene.judge.done('pipelined GETs');
    else scene.judge.fail('pipelined GETs', `${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
    await delay(scene.random.between(0, 50));
  }
}

const patienceMs = 20_000;

function answersTo(port: number, requests: string, count: number): Promise<string[]> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let text = '';
    const end = () => {
      clearTimeout(limit);
      socket.destroy();
      resolve(text.match(/\{"id":"[^"]*"\}/g) ?? []);
    };
    const limit = setTimeout(end, patienceMs);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.split('"}').length > count) end();
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', end);
    socket.write(requests);
  });
}

/** A WebSocket that lives for a while and hears everything it said. */
export async function talker(scene: Scene, isSecure: boolean): Promise<void> {
  const { judge, random } = scene;
  const url = isSecure ? `wss://127.0.0.1:${scene.tlsPort}/talk` : `ws://127.0.0.1:${scene.plainPort}/talk`;
  while (!scene.isOver()) {
    const startedMs = performance.now();
    const problem = await talk(new WebSocket(url, { rejectUnauthorized: false }), scene);
    if (problem === undefined) judge.done('WebSocket');
    else if (judge.wasStruck(problem.instance, startedMs, { gentlyToo: true })) judge.excuse('WebSocket');
    else judge.fail('WebSocket', `${problem.what}, of ${problem.instance ?? 'nobody'}`);
    await delay(random.between(0, 200));
  }
}

interface TalkProblem {
  readonly what: string;
  readonly instance: string | undefined;
}

/** Undefined: it was opened, everything came back in order, and it was closed by us. */
function talk(ws: WebSocket, { random, isOver }: Scene): Promise<TalkProblem | undefined> {
  const endMs = performance.now() + random.between(200, 8_000);
  return new Promise((resolve) => {
    let instance: string | undefined;
    let said = 0;
    let heard = 0;
    let what = 'it did not open';
    let isClosing = false;
    const say = () => {
      if (ws.readyState !== WebSocket.OPEN) return;
      if (isOver() || performance.now() > endMs) {
        isClosing = true;
        ws.close(1000);
        return;
      }
      ws.send(`${++said} ${'x'.repeat(Math.floor(random.between(0, 20_000)))}`);
    };
    ws.on('message', (data) => {
      const text = data.toString();
      if (instance === undefined) {
        instance = text;
        what = 'it was cut';
      } else if (Number.parseInt(text, 10) !== ++heard)
        what = `message ${text.slice(0, 20)} instead of ${heard}`;
      setTimeout(say, random.between(0, 30));
    });
    ws.on('error', () => undefined); // 'close' follows
    ws.on('close', () => {
      const isWell = isClosing && heard === said && !what.startsWith('message');
      resolve(isWell ? undefined : { what, instance });
    });
    const limit = setTimeout(() => ws.terminate(), endMs - performance.now() + patienceMs);
    ws.on('close', () => clearTimeout(limit));
  });
}

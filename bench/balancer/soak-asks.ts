/** The requests of the soak, and how their answers are checked. */
import { crc32 } from 'node:zlib';
import type { Random } from '../../src/testing/simulation/random.ts';
import type { Judge, Sight } from './soak-judge.ts';
import { PatternCheck } from './soak-pattern.ts';

export interface Ask {
  readonly kind: string;
  readonly method: string;
  readonly path: string;
  readonly id: string;
  readonly body?: Buffer;
  /** No failure before the first byte of the response is excused. */
  readonly mayRepeat: boolean;
  readonly check: (ask: Ask) => Check;
  /** What is right, if it is not a good answer. */
  readonly expects?: (sight: Sight) => boolean;
  /** Takes the answer slowly, and gives the body slowly. */
  readonly isSlow?: boolean;
  /** Goes away in the middle. */
  readonly abortAfterMs?: number;
}

export interface Check {
  take(chunk: Buffer): void;
  verdict(trailers: Readonly<Record<string, unknown>>): { readonly broken?: string; readonly wrong?: string };
}

const right = {};

function checkText(isRight: (text: string, trailers: Readonly<Record<string, unknown>>) => boolean): Check {
  let text = '';
  return {
    take: (chunk) => {
      text += chunk.toString('latin1');
    },
    verdict: (trailers) =>
      isRight(text, trailers) ? right : { wrong: `an answer that is not ours: ${text.slice(0, 200)}` },
  };
}

const checkId = ({ id }: Ask): Check => checkText((text) => (JSON.parse(text) as { id: string }).id === id);

const checkTaken = ({ id, body = Buffer.alloc(0) }: Ask): Check =>
  checkText((text) => {
    const answer = JSON.parse(text) as { id: string; bytes: number; checksum: number };
    return answer.id === id && answer.bytes === body.length && answer.checksum === crc32(body);
  });

const checkPieces = ({ id }: Ask): Check =>
  checkText((text, trailers) => text === `${id}\n`.repeat(5) && trailers['x-id'] === id);

const checkEvents =
  (count: number) =>
  ({ id }: Ask): Check => {
    const events = Array.from({ length: count }, (_, event) => `data: ${id} ${event}\n\n`);
    return checkText((text) => text === events.join(''));
  };

const checkPattern =
  (bytes: number) =>
  ({ id }: Ask): Check => {
    const pattern = new PatternCheck(id);
    return {
      take: (chunk) => pattern.take(chunk),
      verdict() {
        if (!pattern.isRight) return { wrong: 'a body with bytes that are not its own' };
        // Where the end of the connection is the end of the body, a cut looks like an end.
        return pattern.bytes < bytes ? { broken: `${pattern.bytes} of ${bytes} bytes` } : right;
      },
    };
  };

const checkNothing = (): Check => ({ take: () => undefined, verdict: () => right });

const kilobytes = (random: Random, from: number, to: number): number =>
  Math.floor(random.between(from, to) * 1_024);

/** Small ones only: most of what users send. */
export function smallAsk(random: Random, id: string): Ask {
  const share = random.next();
  if (share < 0.8)
    return { kind: 'GET', method: 'GET', path: `/small?id=${id}`, id, mayRepeat: true, check: checkId };
  const body = Buffer.alloc(kilobytes(random, 0, 4), id);
  const isPut = share < 0.9;
  const [method, path] = isPut ? ['PUT', `/take?id=${id}`] : ['POST', `/once?id=${id}`];
  return { kind: method, method, path, id, body, mayRepeat: isPut, check: checkTaken };
}

/** Of every kind. */
export function nextAsk(random: Random, id: string): Ask {
  const get = { method: 'GET', id, mayRepeat: true };
  const share = random.next();
  if (share < 0.6) return { ...get, kind: 'GET', path: `/small?id=${id}`, check: checkId };
  if (share < 0.65)
    return { ...get, kind: 'HEAD', method: 'HEAD', path: `/small?id=${id}`, check: checkNothing };
  if (share < 0.7) {
    const path = `/slow?id=${id}&ms=${Math.floor(random.between(5, 150))}`;
    return { ...get, kind: 'slow GET', path, check: checkId };
  }
  if (share < 0.74) return { ...get, kind: 'chunked GET', path: `/pieces?id=${id}`, check: checkPieces };
  if (share < 0.79) return largeAsk(random, id);
  if (share < 0.86) {
    const body = Buffer.alloc(kilobytes(random, 0, 16), id);
    return {
      kind: 'PUT',
      method: 'PUT',
      path: `/take?id=${id}`,
      id,
      body,
      mayRepeat: true,
      check: checkTaken,
    };
  }
  if (share < 0.97) {
    const body = Buffer.alloc(kilobytes(random, 0, 16), id);
    return {
      kind: 'POST',
      method: 'POST',
      path: `/once?id=${id}`,
      id,
      body,
      mayRepeat: false,
      check: checkTaken,
    };
  }
  return rareAsk(random, id);
}

function largeAsk(random: Random, id: string): Ask {
  const bytes = kilobytes(random, 20, 800);
  const isUnframed = random.chance(0.3);
  const path = `/${isUnframed ? 'unframed' : 'large'}?id=${id}&bytes=${bytes}`;
  const kind = isUnframed ? 'large GET without a length' : 'large GET';
  return { kind, method: 'GET', path, id, mayRepeat: true, check: checkPattern(bytes) };
}

function rareAsk(random: Random, id: string): Ask {
  const upload = () => Buffer.alloc(kilobytes(random, 100, 2_000), id);
  const none = { id, check: checkNothing };
  return random.pick<() => Ask>([
    () => ({
      ...none,
      kind: 'upload',
      method: 'PUT',
      path: `/take?id=${id}`,
      body: upload(),
      mayRepeat: false,
      check: checkTaken,
    }),
    () => ({
      ...none,
      kind: 'slow upload',
      method: 'POST',
      path: `/once?id=${id}`,
      body: upload().subarray(0, 60_000),
      mayRepeat: false,
      check: checkTaken,
      isSlow: true,
    }),
    () => ({
      ...none,
      kind: 'refused upload',
      method: 'POST',
      path: '/reject',
      body: upload(),
      mayRepeat: false,
      expects: ({ status }) => status === 413,
    }),
    () => ({
      ...none,
      kind: 'upload against a shut door',
      method: 'POST',
      path: '/slam',
      body: upload(),
      mayRepeat: false,
      // Whether the answer is heard before the reset is a matter of luck, as without a balancer.
      expects: ({ status, broken }) => status === 413 || status === 502 || broken !== undefined,
    }),
    () => ({
      ...none,
      kind: 'GET that breaks every instance',
      method: 'GET',
      path: '/break',
      mayRepeat: true,
      expects: ({ status, instance }) => status === 502 && instance === undefined,
    }),
    () => ({
      ...none,
      kind: 'GET that is broken off',
      method: 'GET',
      path: '/half',
      mayRepeat: true,
      expects: ({ status, broken }) => status === 502 || (status === 200 && broken !== undefined),
    }),
  ])();
}

export function slowAsk(random: Random, id: string): Ask {
  const bytes = kilobytes(random, 500, 3_000);
  const path = `/large?id=${id}&bytes=${bytes}`;
  return {
    kind: 'slow reader',
    method: 'GET',
    path,
    id,
    mayRepeat: true,
    check: checkPattern(bytes),
    isSlow: true,
  };
}

export function eventsAsk(random: Random, id: string): Ask {
  const count = Math.floor(random.between(10, 100));
  const path = `/events?id=${id}&count=${count}`;
  return { kind: 'event stream', method: 'GET', path, id, mayRepeat: true, check: checkEvents(count) };
}

/** Of which the client does not wait for the end. */
export function abortedAsk(random: Random, id: string): Ask {
  const bytes = kilobytes(random, 200, 4_000);
  const abortAfterMs = random.between(0, 60);
  const common = {
    kind: 'aborted',
    id,
    mayRepeat: false,
    check: checkNothing,
    expects: () => true,
    abortAfterMs,
  };
  return random.chance(0.5)
    ? { ...common, method: 'GET', path: `/large?id=${id}&bytes=${bytes}` }
    : { ...common, method: 'POST', path: `/take?id=${id}`, body: Buffer.alloc(bytes, id), isSlow: true };
}

export function settle(judge: Judge, ask: Ask, sight: Sight): void {
  const isRight = ask.expects
    ? ask.expects(sight)
    : sight.status === 200 && sight.broken === undefined && sight.wrong === undefined;
  if (isRight) judge.done(ask.kind);
  else judge.judge(ask.kind, sight, ask.mayRepeat);
}

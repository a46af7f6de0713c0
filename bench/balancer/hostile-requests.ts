/**
 * Requests as the smuggling literature writes them: a plain request from a grammar, and up to three changes to it.
 * A request is a list of short texts (latin1, one character a byte) until it is sent, so that a change can take hold
 * of a name, a size or a line's end, and a counterexample can be shrunk piece by piece. The same seed and index make
 * the same request.
 */
import { type Random, seededRandom } from '../../src/testing/simulation/random.ts';
import {
  addHeader,
  changePieces,
  chunk,
  crlf,
  type Draft,
  draftChanges,
  header,
  type Line,
  lastChunk,
} from './hostile-changes.ts';

export interface HostileRequest {
  readonly index: number;
  readonly pieces: readonly string[];
  /** What was changed; empty: an ordinary request that everybody must understand. */
  readonly changes: readonly string[];
  /** Where to cut the bytes into separate writes. */
  readonly cuts: readonly number[];
}

/** The request that stands behind each: whoever reads all of the first one answers this one too, and closes. */
export const sentinel = 'GET /sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n';

export function hostileRequest(seed: number, index: number): HostileRequest {
  const random = seededRandom(Math.imul(seed + 1, 0x2545f491) ^ Math.imul(index + 1, 0x9e3779b1));
  const draft = ordinaryDraft(random);
  const changes: string[] = [];
  const count = random.pick([0, 1, 1, 1, 1, 1, 2, 3]);
  for (let done = 0; done < count; done++) {
    const [name, change] = random.pick(draftChanges);
    change(draft, random);
    changes.push(name);
  }
  const pieces = piecesOf(draft);
  if (count > 0 && random.chance(0.2)) changes.push(changePieces(pieces, random));
  return { index, pieces, changes, cuts: cutsFor(pieces.join('').length, random) };
}

const ordinaryMethods = ['GET', 'GET', 'POST', 'POST', 'POST', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH'];
const withoutBody = ['GET', 'HEAD', 'OPTIONS'];
const ordinaryTargets = ['/', '/a', '/a?b=c', '/a/b;c=d?e=%20f', '/a//b/../c'];
const ordinaryHosts = ['a', 'shop.example.com', '127.0.0.1:8080', '[::1]:80'];

function ordinaryDraft(random: Random): Draft {
  const method = random.pick(ordinaryMethods);
  const draft: Draft = {
    prefix: '',
    line: [method, ' ', random.pick(ordinaryTargets), ' ', 'HTTP/1.1', crlf],
    headers: [header('Host', random.pick(ordinaryHosts))],
    headEnd: crlf,
    body: '',
    chunks: [],
    trailers: [],
    bodyEnd: '',
    leftover: '',
  };
  const extra = Math.floor(random.between(0, 4));
  for (let done = 0; done < extra; done++) addHeader(draft, random, ordinaryHeader(random, done));
  if (!withoutBody.includes(method)) addBody(draft, random);
  return draft;
}

const plainValues = ['1', 'a b  c', '', '"quoted, text"', 'caf\xe9', 'a:b:c'];

function ordinaryHeader(random: Random, number: number): Line {
  return random.pick([
    header('Accept', 'text/html,*/*;q=0.8'),
    header('User-Agent', 'fuzz/1.0 (like (nested) comments)'),
    header('Cookie', 'a=b; c="d e"'),
    header(`X-Plain-${number}`, random.pick(plainValues)),
    header('x-lower', 'Value'),
    { ...header('X-Tight', 'v'), separator: ':' },
    { ...header('X-Tabbed', 'v \t '), separator: ':\t ' },
    header('Connection', 'keep-alive'),
  ]);
}

const payloads = [
  '',
  'x',
  'hello',
  '0\r\n\r\n',
  'GET /inner HTTP/1.1\r\nHost: inner\r\n\r\n',
  '\x00\xff\r\n\n',
];

function addBody(draft: Draft, random: Random): void {
  if (random.chance(0.5)) {
    draft.body = random.pick(payloads);
    addHeader(draft, random, header('Content-Length', String(draft.body.length)));
    return;
  }
  addHeader(draft, random, header('Transfer-Encoding', 'chunked'));
  const count = Math.floor(random.between(0, 4));
  for (let done = 0; done < count; done++) {
    const data = random.pick(payloads.filter((payload) => payload !== ''));
    draft.chunks.push(chunk(data.length.toString(16), data));
  }
  draft.chunks.push(lastChunk());
  if (random.chance(0.15)) draft.trailers.push('X-Trailer: t\r\n');
  draft.bodyEnd = crlf;
}

function piecesOf(draft: Draft): string[] {
  return [
    draft.prefix,
    ...draft.line,
    ...draft.headers.flatMap(({ name, separator, value, end }) => [name, separator, value, end]),
    draft.headEnd,
    draft.body,
    ...draft.chunks.flatMap(({ size, sizeEnd, data, dataEnd }) => [size, sizeEnd, data, dataEnd]),
    ...draft.trailers,
    draft.bodyEnd,
    draft.leftover,
  ].filter((piece) => piece !== '');
}

/** Most requests are one write; some are cut once or twice, a few at every byte. */
function cutsFor(length: number, random: Random): number[] {
  const kind = random.next();
  if (kind < 0.7 || length < 2) return [];
  if (kind > 0.97) return Array.from({ length: length - 1 }, (_, index) => index + 1);
  const cut = () => 1 + Math.floor(random.between(0, length - 1));
  return [...new Set([cut(), cut()])].sort((one, other) => one - other);
}

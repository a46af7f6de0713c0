/** Changes to an ordinary request, each of them something that a server was once caught reading differently. */
import type { Random } from '../../src/testing/simulation/random.ts';
import { chunkSizesOf, codings, leftovers, lengthsOf, trailers } from './hostile-framing.ts';
import {
  connections,
  expectations,
  hosts,
  lineEnds,
  methods,
  names,
  prefixes,
  strayBytes,
  targets,
  values,
  versions,
} from './hostile-vocabulary.ts';

/** A request in parts, before it becomes a list of pieces. */
export interface Draft {
  prefix: string;
  /** Method, space, target, space, version, end. */
  line: string[];
  headers: Line[];
  headEnd: string;
  body: string;
  chunks: Chunk[];
  trailers: string[];
  bodyEnd: string;
  leftover: string;
}

export interface Line {
  name: string;
  separator: string;
  value: string;
  end: string;
}

export interface Chunk {
  size: string;
  sizeEnd: string;
  data: string;
  dataEnd: string;
}

export const crlf = '\r\n';

export const header = (name: string, value: string): Line => ({ name, separator: ': ', value, end: crlf });

export const chunk = (size: string, data: string): Chunk => ({ size, sizeEnd: crlf, data, dataEnd: crlf });

export function addHeader(draft: Draft, random: Random, line: Line): void {
  draft.headers.splice(Math.floor(random.between(0, draft.headers.length + 1)), 0, line);
}

type Change = (draft: Draft, random: Random) => void;

/** A part of the request line is replaced. */
const inLine =
  (part: number, texts: readonly string[]): Change =>
  (draft, random) => {
    draft.line[part] = random.pick(texts);
  };

const spacings = ['  ', '\t', '', ' \t', '\x0b', '\x0c', '\r', '\xa0'];

const requestLineChanges: Readonly<Record<string, Change>> = {
  method: inLine(0, methods),
  target: inLine(2, targets),
  version: inLine(4, versions),
  'space before the target': inLine(1, spacings),
  'space before the version': inLine(3, spacings),
  'end of the request line': inLine(5, lineEnds),
  'before the request': (draft, random) => {
    draft.prefix = random.pick(prefixes);
  },
};

const framingChanges: Readonly<Record<string, Change>> = {
  'another Transfer-Encoding': (draft, random) => addHeader(draft, random, random.pick(codings)()),
  'Transfer-Encoding': (draft, random) =>
    replaceOrAdd(draft, random, 'Transfer-Encoding', random.pick(codings)()),
  'another Content-Length': (draft, random) =>
    addHeader(draft, random, random.pick(lengthsOf(bodyLength(draft)))()),
  'Content-Length': (draft, random) =>
    replaceOrAdd(draft, random, 'Content-Length', random.pick(lengthsOf(bodyLength(draft)))()),
  'no framing': (draft) => remove(draft, ['Content-Length', 'Transfer-Encoding']),
  'what follows the body': (draft, random) => {
    draft.leftover = random.pick(leftovers);
  },
  connection: (draft, random) => addHeader(draft, random, header('Connection', random.pick(connections))),
  upgrade: (draft, random) => {
    addHeader(draft, random, header('Connection', random.pick(['upgrade', 'Upgrade, HTTP2-Settings'])));
    const protocols = ['websocket', 'h2c', 'HTTP/2.0', 'a, h2c', ''];
    addHeader(draft, random, header('Upgrade', random.pick(protocols)));
  },
  expect: (draft, random) => addHeader(draft, random, header('Expect', random.pick(expectations))),
};

const bodyLength = (draft: Draft): number =>
  draft.body.length + draft.chunks.reduce((sum, { data }) => sum + data.length, 0);

/** One of the headers is changed. */
const inHeader =
  (change: (line: Line, random: Random) => Partial<Line>): Change =>
  (draft, random) => {
    if (draft.headers.length === 0) return;
    const line = random.pick(draft.headers);
    Object.assign(line, change(line, random));
  };

const separators = [' : ', ' :', '\t:', ':', '', ' ', '::', ':\x0b', ':\x00', '\r\n:'];

const headerChanges: Readonly<Record<string, Change>> = {
  host: (draft, random) => replaceOrAdd(draft, random, 'Host', header('Host', random.pick(hosts))),
  'another host': (draft, random) => addHeader(draft, random, header('Host', random.pick(hosts))),
  'no host': (draft) => remove(draft, ['Host']),
  'a header twice': (draft, random) => {
    if (draft.headers.length > 0) addHeader(draft, random, { ...random.pick(draft.headers) });
  },
  name: (draft, random) => addHeader(draft, random, header(random.pick(names), 'v')),
  value: (draft, random) => addHeader(draft, random, header('X-Value', random.pick(values))),
  separator: inHeader((_, random) => ({ separator: random.pick(separators) })),
  'end of a header': inHeader((_, random) => ({ end: random.pick(lineEnds) })),
  'folded header': inHeader(({ value }, random) => ({
    value: random.pick([`\r\n ${value}`, `${value}\r\n\tx`, `\n ${value}`, `${value}\r\n `]),
  })),
  'space before a name': inHeader(({ name }, random) => ({
    name: random.pick([' ', '\t', '\x0b', '\x00', '\xa0']) + name,
  })),
  'end of the head': (draft, random) => {
    draft.headEnd = random.pick(lineEnds);
  },
};

/** One of the chunks is changed; a body that has none becomes one of chunks first, so that no change is wasted. */
const inChunk =
  (change: (one: Chunk, random: Random) => Partial<Chunk>): Change =>
  (draft, random) => {
    if (draft.chunks.length === 0) makeChunked(draft, random);
    const one = random.pick(draft.chunks);
    Object.assign(one, change(one, random));
  };

function makeChunked(draft: Draft, random: Random): void {
  remove(draft, ['Content-Length', 'Transfer-Encoding']);
  addHeader(draft, random, header('Transfer-Encoding', 'chunked'));
  draft.line[0] = 'POST';
  draft.body = '';
  draft.chunks.push(chunk('5', 'hello'), lastChunk());
  draft.bodyEnd = crlf;
}

export const lastChunk = (): Chunk => ({ size: '0', sizeEnd: crlf, data: '', dataEnd: '' });

const chunkChanges: Readonly<Record<string, Change>> = {
  'chunk size': inChunk(({ size }, random) => ({ size: random.pick(chunkSizesOf(size)) })),
  'end of a chunk size': inChunk((_, random) => ({ sizeEnd: random.pick(lineEnds) })),
  'end of a chunk': inChunk((_, random) => ({ dataEnd: random.pick([...lineEnds, 'x', 'xx\r\n']) })),
  trailer: (draft, random) => {
    if (draft.chunks.length === 0) makeChunked(draft, random);
    draft.trailers.push(random.pick(trailers));
  },
  'end of the body': (draft, random) => {
    draft.bodyEnd = random.pick(lineEnds);
  },
};

export const draftChanges: readonly (readonly [name: string, change: Change])[] = [
  requestLineChanges,
  framingChanges,
  framingChanges, // twice: they are the heart of the matter
  headerChanges,
  chunkChanges,
].flatMap((changes) => Object.entries(changes));

const isNamed = (line: Line, name: string): boolean => line.name.toLowerCase() === name.toLowerCase();

function replaceOrAdd(draft: Draft, random: Random, name: string, line: Line): void {
  const at = draft.headers.findIndex((one) => isNamed(one, name));
  if (at >= 0) draft.headers[at] = line;
  else addHeader(draft, random, line);
}

function remove(draft: Draft, gone: readonly string[]): void {
  draft.headers = draft.headers.filter((line) => !gone.some((name) => isNamed(line, name)));
}

/** A change that knows nothing of what it changes; returns what it did. */
export function changePieces(pieces: string[], random: Random): string {
  const at = Math.floor(random.between(0, pieces.length));
  const piece = pieces[at] ?? '';
  const place = Math.floor(random.between(0, piece.length + 1));
  const change = random.pick(['insert', 'insert', 'insert', 'delete', 'replace', 'repeat', 'drop']);
  switch (change) {
    case 'repeat':
      pieces.splice(at, 0, piece);
      return 'a piece twice';
    case 'drop':
      pieces.splice(at, 1);
      return 'a piece less';
    default: {
      const stray = change === 'delete' ? '' : random.pick(strayBytes);
      const rest = piece.slice(change === 'insert' ? place : place + 1);
      pieces[at] = piece.slice(0, place) + stray + rest;
      return { insert: 'a byte more', delete: 'a byte less', replace: 'another byte' }[change] ?? change;
    }
  }
}

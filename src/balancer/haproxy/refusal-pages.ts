import { STATUS_CODES } from 'node:http';
import {
  allBusy,
  bodyNotHeld,
  bodyTooLarge,
  everyInstanceBroke,
  fateUnknown,
  headTooSlow,
  noInstance,
  noResponse,
  notFound,
  type Refusal,
  underMaintenance,
} from '../embedded/refusal.ts';
import { type PageFiles, pageFor } from '../pages.ts';
import { quoted } from './config-text.ts';

/**
 * The balancer's own answers, in the words of the embedded engine. HAProxy can keep one text for each status, and we
 * want three (a page for people, JSON for programs, a line of text for the rest) with the request's id in them. So all
 * pages stand in a map, and each answer is a format that looks its page up by a name, the kind that the request
 * accepts, and the id, which the map puts where the page wants it. A map has one line for each entry, and HAProxy lets
 * no control characters through; so a page is one line.
 */
const refusals = {
  badRequest: {
    status: 400,
    text: 'Bad request: it is not what HTTP/1.1 allows, or it can be read in two ways.',
  },
  notFound,
  badMethod: { status: 405, text: 'This method is not served here.' },
  tooSlow: headTooSlow,
  lengthMissing: {
    status: 411,
    text: 'This server takes a body here only when its length is told beforehand (Content-Length).',
  },
  bodyTooLarge,
  targetTooLong: { status: 414, text: 'The address is longer than this server takes.' },
  headersTooLarge: { status: 431, text: 'The request headers are more or larger than this server takes.' },
  internal: { status: 500, text: 'The balancer could not work on this request.' },
  unknownCoding: { status: 501, text: 'The transfer coding of the request is not understood.' },
  /** HAProxy tells the two apart as little as it tells a broken connection from a broken answer. */
  lost: { status: 502, text: `${everyInstanceBroke.text} Or: ${bodyNotHeld.text}` },
  fateUnknown,
  noInstance,
  allBusy,
  underMaintenance,
  noResponse: noResponse(true),
  noResponseFateUnknown: noResponse(false),
} as const satisfies Record<string, Refusal>;

export type RefusalName = keyof typeof refusals;

export const refusalStatuses: readonly number[] = [
  ...new Set(Object.values(refusals).map(({ status }) => status)),
].sort();

/** The variable in which answers of our own of this status are counted. */
export const refusalVariable = (status: number): string => `refused_${status}`;

const kinds = { html: 'text/html', json: 'application/json', text: 'text/plain' } as const;
type Kind = keyof typeof kinds;
const mediaTypes = { html: 'text/html; charset=utf-8', json: 'application/problem+json' } as const;

const idMark = '\x1e';

/** The content of the map: each key is an expression, and `\1` in its value stands for the id. */
export function pagesMap(own: PageFiles): string {
  const names = Object.keys(refusals) as RefusalName[];
  const entries = names.flatMap((name) =>
    (Object.keys(kinds) as Kind[]).map((kind) => {
      // Before the headers were read there is no kind, and text has no id.
      const key = kind === 'text' ? `^${name}\\.(text)?\\.` : `^${name}\\.${kind}\\.(.*)$`;
      return `${key} ${pageText(name, kind, own)}`;
    }),
  );
  return `${entries.join('\n')}\n`;
}

function pageText(name: RefusalName, kind: Kind, own: PageFiles): string {
  const { status, text, retryAfterS }: Refusal = refusals[name];
  const title = STATUS_CODES[status] ?? '';
  const maintenance = name === 'underMaintenance';
  const facts = { status, title, text, retryAfterS, requestId: idMark, maintenance, accept: kinds[kind] };
  const page = pageFor(facts, own)
    .body.replace(/\s*[\r\n]+\s*/g, ' ')
    .trim();
  // JSON has escaped the mark by itself.
  return page.replaceAll('\\u001e', idMark).replaceAll('\\', '\\\\').replaceAll(idMark, '\\1');
}

const html = '(text/html|application/xhtml[+]xml)';
const json = '(application/json|[+]json)';
const accepts = (kind: string, weight: string) =>
  `{ req.fhdr(accept) -m reg -i ${quoted(`${kind}[[:space:]]*(,|$|;[^,]*q=${weight})`)} }`;
const some = '(1|0[.][0-9]*[1-9])';

/** Sets `txn.kind` from the Accept header: what is fully welcome before what is welcome at all. */
export const kindRules = [
  'http-request set-var(txn.kind) str(text)',
  `http-request set-var(txn.kind) str(json) if ${accepts(json, some)}`,
  `http-request set-var(txn.kind) str(html) if ${accepts(html, some)}`,
  `http-request set-var(txn.kind) str(json) if ${accepts(json, '1')}`,
  `http-request set-var(txn.kind) str(html) if ${accepts(html, '1')}`,
].join('\n');

/** The type of an answer of our own; the rules of responses have marked those of instances. */
export const mediaTypeRules = (Object.keys(mediaTypes) as (keyof typeof mediaTypes)[])
  .map(
    (kind) =>
      `http-after-response set-header content-type ${quoted(mediaTypes[kind])} ` +
      `if !{ var(txn.answered) -m found } { var(txn.kind) -m str ${kind} }`,
  )
  .join('\n');

const pageFormat = (name: RefusalName, pagesFile: string): string =>
  `"%[str(${name}.),concat(,txn.kind,.),concat(,txn.id),map_regm(${pagesFile})]"`;

function answer(name: RefusalName, pagesFile: string): string {
  const { retryAfterS }: Refusal = refusals[name];
  return [
    `content-type "text/plain; charset=utf-8" lf-string ${pageFormat(name, pagesFile)}`,
    'hdr cache-control no-store',
    name === 'badMethod' ? 'hdr allow "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"' : '',
    retryAfterS === undefined ? '' : `hdr retry-after ${retryAfterS}`,
  ]
    .filter((part) => part !== '')
    .join(' ');
}

/** A rule that answers a request instead of passing it on. What cannot be trusted to be one request ends the connection. */
export const refuse = (name: RefusalName, pagesFile: string, condition: string): string =>
  `http-request return status ${refusals[name].status} ${answer(name, pagesFile)} hdr connection close ${condition}`;

export const usualErrors: readonly RefusalName[] = [
  'badRequest',
  'tooSlow',
  'internal',
  'lost',
  'noInstance',
  'noResponse',
];

export const errorsOfUnknownFate: readonly RefusalName[] = ['fateUnknown', 'noResponseFateUnknown'];

/**
 * What HAProxy says when it gives up by itself, by status. Never in a section of defaults: there HAProxy does not
 * prepare the expressions in it, and ends when it needs them.
 */
export const errorPages = (names: readonly RefusalName[], pagesFile: string): string =>
  names.map((name) => `http-error status ${refusals[name].status} ${answer(name, pagesFile)}`).join('\n');

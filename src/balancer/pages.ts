import { readFile } from 'node:fs/promises';
import { HoldfastError } from '../support/errors.ts';
import { escapedHtml } from '../support/html.ts';

/**
 * What is said to a client whose request gets no answer from the application: to a person as a page, to a program as
 * JSON, to everything else as a line of text. The client says by its Accept header which of them it is; a browser
 * names HTML before anything else, a program that does not care accepts everything.
 */
export interface PageFacts {
  readonly status: number;
  /** A few words; of JSON the standard wants those of the status, such as `Service Unavailable`. */
  readonly title: string;
  /** What happened and what to do, in sentences. When to try again is said from `retryAfterS`. */
  readonly text: string;
  readonly retryAfterS?: number | undefined;
  readonly requestId?: string | undefined;
  /** Somebody closed the application on purpose. */
  readonly maintenance?: boolean | undefined;
  readonly accept: string | undefined;
}

export interface Page {
  readonly contentType: string;
  readonly body: string;
}

/** The text of the files instead of the built-in page, by status or `maintenance`. */
export type PageFiles = Readonly<Record<string, string>>;

export function pageFor(facts: PageFacts, own: PageFiles): Page {
  switch (preferredKind(facts.accept)) {
    case 'html':
      return { contentType: 'text/html; charset=utf-8', body: html(facts, own) };
    case 'json':
      return { contentType: 'application/problem+json', body: problem(facts) };
    case 'text':
      return {
        contentType: 'text/plain; charset=utf-8',
        body: `${[facts.text, ...again(facts)].join(' ')}\n`,
      };
  }
}

/** Reads the files of the setting `balancer.pages` once, so that an error page never waits for a disk. */
export async function loadPages(files: Readonly<Record<string, string>>): Promise<PageFiles> {
  const loaded: Record<string, string> = {};
  for (const [name, file] of Object.entries(files)) {
    if (!/^(?:maintenance|[45]\d\d)$/.test(name)) {
      throw new HoldfastError('CONFIGURATION_INVALID', `balancer.pages.${name}: there is no such page`, {
        remedy: 'Name pages by status, 400 to 599, or `maintenance`.',
      });
    }
    try {
      loaded[name] = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const reason = code === 'ERR_ENCODING_INVALID_ENCODED_DATA' ? 'it is not UTF-8' : message;
      throw new HoldfastError(
        'CONFIGURATION_INVALID',
        `balancer.pages.${name}: ${file} cannot be used: ${reason}`,
        {
          remedy: 'Name an HTML file in UTF-8 that the balancer may read.',
          cause: error,
        },
      );
    }
  }
  return loaded;
}

type Kind = 'text' | 'html' | 'json';

/** Equals are served in this order. */
const kinds: readonly [kind: Kind, isExactly: RegExp, family: string][] = [
  ['text', /^text\/plain$/, 'text/*'],
  ['html', /^(?:text\/html|application\/xhtml\+xml)$/, 'text/*'],
  ['json', /^application\/(?:json|[^/]+\+json)$/, 'application/*'],
];

interface MediaRange {
  readonly type: string;
  readonly quality: number;
  readonly place: number;
}

/**
 * Content negotiation (RFC 9110, section 12.5.1): for each kind the most specific range that fits says how welcome it
 * is. Among equally welcome ones the one that was named counts more than one that is merely included, and then the
 * one that was named first. Who accepts nothing of ours gets plain text: an error must be told somehow.
 */
function preferredKind(accept: string | undefined): Kind {
  const ranges = rangesOf(accept ?? '*/*');
  let best = { kind: 'text' as Kind, quality: 0, precision: 0, place: 0 };
  for (const [kind, isExactly, family] of kinds) {
    const fitting = [
      ranges.filter(({ type }) => type === '*/*'),
      ranges.filter(({ type }) => type === family),
      ranges.filter(({ type }) => isExactly.test(type)),
    ];
    const precision = fitting.findLastIndex(({ length }) => length > 0);
    for (const { quality, place } of fitting[precision] ?? []) {
      const better =
        quality - best.quality || (quality && precision - best.precision) || (quality && best.place - place);
      if (better > 0) best = { kind, quality, precision, place };
    }
  }
  return best.kind;
}

function rangesOf(accept: string): MediaRange[] {
  return accept.split(',').flatMap((range, place) => {
    const [type = '', ...parameters] = range.toLowerCase().split(';');
    const said = parameters
      .map((parameter) => parameter.trim())
      .find((parameter) => parameter.startsWith('q='));
    const quality = said === undefined ? 1 : Number(said.slice(2));
    return quality >= 0 && quality <= 1 ? [{ type: type.trim(), quality, place }] : [];
  });
}

/** Problem details (RFC 9457): `about:blank` says that the status is all there is to know about the type. */
function problem({ status, title, text, retryAfterS, requestId }: PageFacts): string {
  const fields = { type: 'about:blank', title, status, detail: text, retryAfterS, requestId };
  return `${JSON.stringify(fields)}\n`;
}

function html(facts: PageFacts, own: PageFiles): string {
  const template = (facts.maintenance && own.maintenance) || own[facts.status];
  if (template !== undefined) return filled(template, facts);
  const title = escapedHtml(facts.title);
  const sentences = [facts.text, ...again(facts)].map((text) => `<p>${escapedHtml(text)}</p>`).join('\n');
  const request = facts.requestId
    ? `\n<small>Request <code>${escapedHtml(facts.requestId)}</code></small>`
    : '';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title}</title>
<style>
${style}
</style>
</head>
<body>
<main>
<b>${facts.status}</b>
<h1>${title}</h1>
${sentences}${request}
</main>
</body>
</html>
`;
}

const style = `:root { color-scheme: light dark; --ground: #f3f4f6; --card: #fff; --ink: #1c2127; --quiet: #5d6772; --line: #dfe3e8; --mark: #b4540a }
@media (prefers-color-scheme: dark) {
:root { --ground: #111418; --card: #1a1e24; --ink: #e8ebee; --quiet: #9aa4af; --line: #2c323a; --mark: #f0a45c }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--ground); color: var(--ink); font: 1.0625rem/1.6 system-ui, sans-serif }
main { width: 100%; max-width: 34rem; padding: 2.5rem; background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--mark); border-radius: 10px; overflow-wrap: anywhere }
b { color: var(--mark); font-size: .9375rem; letter-spacing: .08em }
h1 { margin: .25rem 0 1rem; font-size: 1.75rem; line-height: 1.25 }
p { margin: 0 0 .75rem }
small { display: block; margin-top: 1.75rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--quiet); font-size: .8125rem }
code { font-family: ui-monospace, monospace }`;

/** In one pass, so that what is filled in is never taken for a placeholder. */
const filled = (template: string, { requestId, text }: PageFacts): string =>
  template.replace(/\{\{\s*(requestId|text)\s*\}\}/g, (_, name) =>
    escapedHtml(name === 'text' ? text : (requestId ?? '')),
  );

/** When to try again, in words; nothing where that is not known. */
function again({ retryAfterS }: PageFacts): string[] {
  if (retryAfterS === undefined) return [];
  const units: [unit: string, seconds: number][] = [
    ['second', 1],
    ['minute', 60],
    ['hour', 3_600],
  ];
  // The largest unit of which there are two; nobody counts in 90 minutes, and nobody is sent away for too short.
  const [unit, seconds] = units.findLast(([, length]) => retryAfterS >= 2 * length) ?? ['second', 1];
  const count = Math.ceil(retryAfterS / seconds);
  return [`Please try again in ${count === 1 ? `a ${unit}` : `${count} ${unit}s`}.`];
}

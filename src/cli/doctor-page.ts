/**
 * The report of the doctor as one page that needs nothing else: to be handed on, printed, or put beside a change. What
 * applications and hosts have said of themselves is in it, so everything is escaped, and the page forbids scripts.
 */
import type { Verdict } from '../doctor/check.ts';
import { checkGroups } from '../doctor/check.ts';
import type { Result } from '../doctor/examine.ts';
import { escapedHtml } from '../support/html.ts';
import { groupTitles, type Report } from './doctor-view.ts';

const classes: Readonly<Record<Verdict, string>> = {
  green: 'green',
  yellow: 'yellow',
  red: 'red',
  'not checked': 'unseen',
};

const style = `
:root { color-scheme: light dark; --ink: #1b2733; --soft: #5d6b78; --line: #dde3e8; --paper: #fff; --green: #1a7f4b; --yellow: #9a6700; --red: #c62f2f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --soft: #98a5b1; --line: #33404c; --paper: #141b22; --green: #4cc38a; --yellow: #e3b341; --red: #ff7b72; } }
body { margin: 2rem auto; max-width: 52rem; padding: 0 1rem; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
a { color: var(--red); } .soft, code { color: var(--soft); } code { font-size: .85em; }
.counts { display: flex; gap: .5rem; flex-wrap: wrap; margin: 1rem 0; padding: 0; list-style: none; }
.counts li { padding: .3rem .8rem; } article { padding: .6rem 1rem; margin: .5rem 0; break-inside: avoid; }
.counts li, article { border: 1px solid var(--line); border-left-width: .35rem; border-radius: .3rem; }
h3 { display: flex; flex-wrap: wrap; gap: 0 .6rem; align-items: baseline; margin: 0; font-size: 1rem; } h3 span { margin-left: auto; font-weight: normal; } article ul { margin: .3rem 0 0; padding-left: 1.2rem; } article p { margin: .5rem 0 0; }
li.green, article.green { border-left-color: var(--green); } li.yellow, article.yellow { border-left-color: var(--yellow); }
li.red, article.red { border-left-color: var(--red); } li.unseen, article.unseen { border-left-color: var(--soft); }`;

function article({ id, verdict, claim, evidence, remedy }: Result): string {
  return `<article class="${classes[verdict]}" id="${escapedHtml(id)}"><h3>${escapedHtml(claim)} <code>${escapedHtml(id)}</code> <span class="soft">${verdict}</span></h3>
<ul>${evidence.map((sentence) => `<li>${escapedHtml(sentence)}</li>`).join('')}</ul>
${remedy === undefined ? '' : `<p><b>To do.</b> ${escapedHtml(remedy)}</p>`}</article>`;
}

export function reportPage({ cluster, at, counts, checks }: Report): string {
  const name = escapedHtml(cluster ?? 'no cluster');
  const todo = checks
    .filter(({ verdict }) => verdict === 'red')
    .map(
      ({ id, claim }) =>
        `<li><a href="#${escapedHtml(id)}">${escapedHtml(id)}</a> ${escapedHtml(claim)}: <b>not so</b></li>`,
    );
  const sections = checkGroups.flatMap((group) => {
    const own = checks.filter((check) => check.group === group);
    return own.length === 0
      ? []
      : [`<section><h2>${groupTitles[group]}</h2>${own.map(article).join('\n')}</section>`];
  });
  const counted = Object.entries(counts).map(
    ([verdict, count]) => `<li class="${classes[verdict as Verdict]}">${count} ${verdict}</li>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="content-security-policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${name}: examination of ${escapedHtml(at)}</title><style>${style}</style></head>
<body><h1>${name}</h1><p class="soft">Examined by holdfast doctor, ${escapedHtml(at)}</p>
<ul class="counts">${counted.join('')}</ul>
${todo.length > 0 ? `<ul>${todo.join('')}</ul>` : ''}
${sections.join('\n')}
</body></html>
`;
}

/** The look of the shop: one sheet, sent with every page, allowed by its hash alone. */
import { createHash } from 'node:crypto';

export const styleSheet = `
:root { color-scheme: light dark; --ink: #16222c; --soft: #5b6b78; --paper: #f5f2ea; --card: #fffdf8; --line: #e2dccd;
  --sea: #1f5f7f; --sea-ink: #fff; --coral: #c8442f; --shade: #1d3a4f14; --drawing: #e8eef0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9edf0; --soft: #9fb0bc; --paper: #10181f; --card: #18232c;
  --line: #2a3944; --sea: #6fb6d6; --sea-ink: #0d1a22; --coral: #ff8f79; --shade: #0006; --drawing: #cfdbe0; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--paper); color: var(--ink); font: 16px/1.55 ui-sans-serif, system-ui, "Segoe UI", Roboto, sans-serif; }
a { color: var(--sea); } h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.02em; } h2 { font-size: 1.15rem; }
header { background: var(--card); border-bottom: 1px solid var(--line); position: sticky; top: 0; z-index: 1; }
header > div, main, footer { max-width: 68rem; margin: auto; padding: .8rem 1.25rem; }
header > div { display: flex; flex-wrap: wrap; gap: .5rem 1.1rem; align-items: center; }
header a { text-decoration: none; } header a:hover { text-decoration: underline; }
.brand { font-weight: 700; font-size: 1.1rem; color: var(--ink); margin-right: auto; }
.instance { border-radius: 99px; padding: .1rem .75rem; font-weight: 600; font-size: .85rem; color: #fff; white-space: nowrap; }
.tone-0 { background: #1f5f7f; } .tone-1 { background: #a3432f; } .tone-2 { background: #3d6b35; }
.tone-3 { background: #6b4a8a; } .tone-4 { background: #8a5a12; } .tone-5 { background: #9b2f5f; }
main { padding-block: 2rem 3rem; display: grid; gap: 1.6rem; }
footer { color: var(--soft); font-size: .85rem; padding-bottom: 2rem; }
.lead, .soft { color: var(--soft); } .lead { max-width: 44rem; margin-top: .4rem; }
.goods { display: grid; gap: 1.1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); padding: 0; list-style: none; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.1rem; box-shadow: 0 1px 3px var(--shade); }
.goods .card { display: flex; flex-direction: column; gap: .55rem; }
.goods svg { width: 100%; height: 8.5rem; background: var(--drawing); border-radius: 10px; padding: 1rem; }
.row { display: flex; gap: .6rem; align-items: center; justify-content: space-between; flex-wrap: wrap; }
.price { font-weight: 700; font-variant-numeric: tabular-nums; }
.push { margin-top: auto; }
.pictures { display: flex; flex-wrap: wrap; gap: .35rem; }
.pictures img { width: 3.6rem; height: 3.6rem; object-fit: cover; border-radius: 8px; border: 1px solid var(--line); display: block; }
button, input { font: inherit; border-radius: 9px; border: 1px solid var(--line); padding: .45rem .8rem; max-width: 100%; }
input { background: var(--paper); color: var(--ink); min-width: 0; }
input[type=file] { font-size: .78rem; padding: .3rem; flex: 1; }
button { background: var(--sea); border-color: transparent; color: var(--sea-ink); font-weight: 600; cursor: pointer; }
button:hover { filter: brightness(1.1); } button.quiet { background: none; color: var(--sea); border-color: var(--line); }
:focus-visible { outline: 3px solid var(--coral); outline-offset: 2px; }
details summary { cursor: pointer; color: var(--soft); font-size: .88rem; } details form { margin-top: .5rem; }
.narrow { max-width: 34rem; display: grid; gap: 1rem; }
.fields { display: flex; gap: .6rem; flex-wrap: wrap; } .fields input { flex: 1; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .5rem .3rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
td:last-child, th:last-child { text-align: right; } tfoot td { font-weight: 700; border: 0; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .5rem 1.2rem; } dt { color: var(--soft); } dd { font-weight: 600; overflow-wrap: anywhere; }
pre { overflow-x: auto; font: .9rem/1.7 ui-monospace, monospace; }
.problem { border-left: 5px solid var(--coral); }
`;

const styleHash = createHash('sha256').update(styleSheet).digest('base64');

export const contentSecurityPolicy = [
  "default-src 'none'",
  `style-src 'sha256-${styleHash}'`,
  "img-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

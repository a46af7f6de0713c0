/** The goods, drawn by hand in 96 × 96, in the colours of the page. */
import { Html, html } from './html.ts';

const shapes: Readonly<Record<string, string>> = {
  anchor: `<g fill="none" stroke="#1d3a4f" stroke-width="6" stroke-linecap="round" stroke-linejoin="round">
    <circle cx="48" cy="19" r="8"/><path d="M48 27v54M33 39h30M17 56c2 16 14 25 31 25s29-9 31-25"/>
    <path d="M11 64l6-9 9 6M85 64l-6-9-9 6"/></g>`,
  rope: `<g fill="none" stroke="#b9843f" stroke-width="9"><ellipse cx="48" cy="66" rx="31" ry="13"/>
    <ellipse cx="48" cy="53" rx="31" ry="13"/><ellipse cx="48" cy="40" rx="31" ry="13"/>
    <path d="M79 40c6-9 3-19-7-22" stroke-linecap="round"/></g>
    <g stroke="#8a5f28" stroke-width="2.5" stroke-linecap="round"><path d="M24 48l6 5M38 52l5 6M56 53l2 5M69 48l-1 6M24 62l6 5M38 66l5 6M56 67l2 5M69 62l-1 6M24 75l6 4M40 80l4 4M58 80l1 4"/></g>`,
  lantern: `<path d="M34 26c0-18 28-18 28 0" fill="none" stroke="#1d3a4f" stroke-width="4"/>
    <rect x="31" y="25" width="34" height="8" rx="3" fill="#1d3a4f"/><rect x="33" y="33" width="30" height="42" rx="4" fill="#ffe2a0"/>
    <path d="M48 43c8 9 9 14 6 20-2 4-10 4-12 0-3-6-2-11 6-20z" fill="#f08a3c"/><path d="M48 55c3 4 3 6 2 9h-4c-1-3-1-5 2-9z" fill="#fff3d0"/>
    <g stroke="#1d3a4f" stroke-width="4"><path d="M33 33v42M63 33v42"/></g><rect x="27" y="75" width="42" height="9" rx="3" fill="#1d3a4f"/>`,
  compass: `<circle cx="48" cy="50" r="34" fill="#d9a441"/><circle cx="48" cy="50" r="27" fill="#fffaf0"/>
    <rect x="42" y="8" width="12" height="10" rx="3" fill="#d9a441"/>
    <g stroke="#1d3a4f" stroke-width="3" stroke-linecap="round"><path d="M48 27v5M48 68v5M25 50h5M66 50h5"/></g>
    <path d="M60 36L53 54 43 46z" fill="#c8442f"/><path d="M36 64l7-18 10 8z" fill="#1d3a4f"/><circle cx="48" cy="50" r="3" fill="#fffaf0"/>`,
  buoy: `<circle cx="48" cy="48" r="27" fill="none" stroke="#fffaf0" stroke-width="17"/>
    <circle cx="48" cy="48" r="27" fill="none" stroke="#c8442f" stroke-width="17" stroke-dasharray="21.2 21.2" stroke-dashoffset="10.6"/>
    <circle cx="48" cy="48" r="36" fill="none" stroke="#1d3a4f" stroke-width="2.5"/><circle cx="48" cy="48" r="18" fill="none" stroke="#1d3a4f" stroke-width="2.5"/>`,
  bell: `<path d="M40 16c0-11 16-11 16 0" fill="none" stroke="#1d3a4f" stroke-width="4"/>
    <path d="M48 16c17 0 20 15 21 30 1 11 4 15 9 20H18c5-5 8-9 9-20 1-15 4-30 21-30z" fill="#d9a441"/>
    <path d="M38 26c-4 6-5 15-5 23" fill="none" stroke="#fff0c4" stroke-width="4" stroke-linecap="round"/>
    <rect x="14" y="65" width="68" height="8" rx="4" fill="#b9843f"/><circle cx="48" cy="80" r="7" fill="#1d3a4f"/>`,
  telescope: `<g transform="rotate(-24 48 48)"><rect x="8" y="40" width="26" height="14" rx="3" fill="#1d3a4f"/>
    <rect x="32" y="37" width="26" height="20" rx="3" fill="#d9a441"/><rect x="56" y="33" width="30" height="28" rx="4" fill="#8a5f28"/>
    <rect x="82" y="31" width="8" height="32" rx="3" fill="#d9a441"/></g><path d="M46 56L32 86M50 56l15 30" stroke="#1d3a4f" stroke-width="4" stroke-linecap="round"/>`,
  flag: `<path d="M22 10v78" stroke="#8a5f28" stroke-width="6" stroke-linecap="round"/>
    <path d="M25 16c18-8 34 8 54 0v38c-20 8-36-8-54 0z" fill="#fffaf0" stroke="#1d3a4f" stroke-width="2.5"/>
    <path d="M25 16c9-4 18-2 27 1v18c-9-3-18-5-27-1zM52 35c9 3 18 4 27 0v19c-9 4-18 3-27 0z" fill="#2f6f8f"/>`,
};

const parcel = `<path d="M14 32l34-16 34 16v36L48 84 14 68z" fill="#d8b078"/>
  <path d="M14 32l34 15 34-15M48 47v37" fill="none" stroke="#8a5f28" stroke-width="3"/>`;

/** A parcel where nobody has drawn the product yet. */
export function drawing(productId: string): Html {
  const shape = Object.hasOwn(shapes, productId) ? shapes[productId] : undefined;
  return html`<svg viewBox="0 0 96 96" aria-hidden="true">${new Html(shape ?? parcel)}</svg>`;
}

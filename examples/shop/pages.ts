/** The pages as people see them. Each is a function of what it shows; no page asks anybody anything. */
import type { Catalogue, Product } from './catalogue.ts';
import { drawing } from './drawings.ts';
import { Html, html } from './html.ts';
import { styleSheet } from './style.ts';

/** Who looks at the page, and who answers. */
export interface Viewer {
  readonly user: string | undefined;
  readonly instance: string;
  readonly visits: number;
  readonly basketSize: number;
}

export function shopPage(viewer: Viewer, catalogue: Catalogue): Html {
  const gallery = html`<section class="card"><h2>From our customers</h2>${pictureRow(catalogue.gallery)}</section>`;
  return layout(
    'Everything that holds',
    viewer,
    html`<div><h1>Everything that holds</h1>
<p class="lead">A ship chandler that stays open. Fill your basket, then kill the instance that serves you: you stay
logged in, the basket stays full, and another instance answers.</p></div>
<ul class="goods">${catalogue.products.map((product) => productCard(viewer, product))}</ul>
${catalogue.gallery.length > 0 ? gallery : undefined}`,
  );
}

function productCard(viewer: Viewer, product: Product): Html {
  const upload = html`<details><summary>Add a picture</summary>
<form class="row" method="post" action="/pictures" enctype="multipart/form-data">
<input type="hidden" name="product" value="${product.id}">
<input type="file" name="picture" aria-label="Picture of ${product.name}" accept="image/png,image/jpeg,image/gif,image/webp,image/avif" required>
<button class="quiet">Upload</button></form></details>`;
  return html`<li class="card">${drawing(product.id)}
<h2>${product.name}</h2><p class="soft">${product.description}</p>
${product.pictures.length > 0 ? pictureRow(product.pictures) : undefined}
<div class="row push"><span class="price">${price(product.priceCents)}</span>
<form method="post" action="/basket"><input type="hidden" name="item" value="${product.id}">
<button aria-label="Put ${product.name} into the basket">Add to basket</button></form></div>
${viewer.user === undefined ? undefined : upload}</li>`;
}

function pictureRow(ids: readonly string[]): Html {
  const links = ids.map(
    (id) =>
      html`<a href="/pictures/${id}"><img src="/pictures/${id}" alt="A customer's picture" loading="lazy"></a>`,
  );
  return html`<div class="pictures">${links}</div>`;
}

export function loginPage(viewer: Viewer): Html {
  return layout(
    'Log in',
    viewer,
    html`<div class="narrow card"><h1>Log in</h1>
<p class="soft">Any name will do: this is an example, and asks for no password.</p>
<form class="fields" method="post" action="/login">
<input name="user" aria-label="Your name" placeholder="Your name" maxlength="40" autocomplete="username" required autofocus>
<button>Log in</button></form></div>`,
  );
}

/** `watching`: the page asks again every second, so that one can see the instance change. */
export function whoamiPage(viewer: Viewer, watching: boolean): Html {
  return layout(
    'Who am I?',
    viewer,
    html`<div class="narrow card"><h1>Who am I?</h1>
<dl><dt>You are</dt><dd>${viewer.user ?? 'not logged in'}</dd><dt>Served by</dt><dd>${viewer.instance}</dd>
<dt>Visits to this page</dt><dd>${viewer.visits}</dd></dl>
<p>${watching ? html`<a href="/whoami">Stop watching</a>` : html`<a href="/whoami?watch=1">Watch: ask every second</a>`}</p>
<p class="soft">Kill the instance with <code>kill -9</code> while you watch.</p></div>`,
    watching ? html`<meta http-equiv="refresh" content="1">` : undefined,
  );
}

export function basketPage(viewer: Viewer, items: readonly string[], catalogue: Catalogue): Html {
  const products = new Map(catalogue.products.map((product) => [product.id, product]));
  const counts = new Map<string, number>();
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
  const totalCents = items.reduce((sum, item) => sum + (products.get(item)?.priceCents ?? 0), 0);
  const rows = [...counts].map(([item, count]) => {
    const product = products.get(item);
    const cost = product ? price(product.priceCents * count) : 'on request';
    return html`<tr><td>${product?.name ?? item}</td><td>${count}</td><td>${cost}</td></tr>`;
  });
  const table = html`<table><thead><tr><th>Item</th><th>Pieces</th><th>Price</th></tr></thead><tbody>${rows}</tbody>
<tfoot><tr><td>Together</td><td>${items.length}</td><td>${price(totalCents)}</td></tr></tfoot></table>`;
  return layout(
    'Basket',
    viewer,
    html`<div class="narrow card"><h1>Basket</h1>
${items.length > 0 ? table : html`<p class="soft">Nothing yet. <a href="/">Have a look around.</a></p>`}
<form class="fields" method="post" action="/basket">
<input name="item" aria-label="Something else" placeholder="Something else you would like" maxlength="100" required>
<button class="quiet">Add</button></form>
${items.some((item) => products.has(item)) ? html`<form method="post" action="/orders"><button>Order</button></form>` : undefined}</div>`,
  );
}

export function notesPage(viewer: Viewer, notes: Readonly<Record<string, string>>): Html {
  const rows = Object.entries(notes).map(([key, value]) => html`<tr><td>${key}</td><td>${value}</td></tr>`);
  return layout(
    'Notes',
    viewer,
    html`<div class="narrow card"><h1>Notes</h1>
<p class="soft">Kept in your session, each under a key of its own.</p>
<table><tbody>${rows}</tbody></table>
<form class="fields" method="post" action="/notes"><input name="key" aria-label="Name" placeholder="Name" pattern="[\\w.\\-]{1,64}" required>
<input name="value" aria-label="Note" placeholder="Note" maxlength="1000" required><button>Keep</button></form></div>`,
  );
}

export function problemPage(instance: string, statusCode: number, message: string): Html {
  const viewer = { user: undefined, instance, visits: 0, basketSize: 0 };
  return layout(
    'That did not work',
    viewer,
    html`<div class="narrow card problem"><h1>That did not work</h1><p>${message}</p>
<p class="soft">${statusCode}, said ${instance}</p><p><a href="/">Back to the shop</a></p></div>`,
    undefined,
    html``,
  );
}

export function layout(
  title: string,
  viewer: Viewer,
  content: Html,
  head?: Html,
  account = accountOf(viewer),
): Html {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title} · Holdfast Chandlery</title>${head}<style>${new Html(styleSheet)}</style></head>
<body><header><div><a class="brand" href="/">⚓ Holdfast Chandlery</a>${account}
<span class="instance tone-${toneOf(viewer.instance)}" title="The instance that served this page">${viewer.instance}</span></div></header>
<main>${content}</main>
<footer>An example of Holdfast. Every page answers JSON to <code>Accept: application/json</code>.</footer></body></html>`;
}

function accountOf(viewer: Viewer): Html {
  if (viewer.user === undefined) return html`<a href="/whoami">Who am I?</a><a href="/login">Log in</a>`;
  return html`<a href="/basket">Basket (${viewer.basketSize})</a><a href="/orders">Orders</a>
<a href="/notes">Notes</a>
<a href="/whoami">${viewer.user}, ${viewer.visits} ${viewer.visits === 1 ? 'visit' : 'visits'}</a>
<form method="post" action="/logout"><button class="quiet">Log out</button></form>`;
}

/** A colour for each instance, so that a change is seen at a glance. */
function toneOf(instance: string): number {
  const trailing = /(\d+)$/.exec(instance)?.[1];
  if (trailing !== undefined) return Number(trailing) % 6;
  return [...instance].reduce((sum, character) => sum + (character.codePointAt(0) ?? 0), 0) % 6;
}

const euros = new Intl.NumberFormat('en-IE', { style: 'currency', currency: 'EUR' });

export function price(cents: number): string {
  return euros.format(cents / 100);
}

/** The pages that show what the scheduled events did: orders with their invoices, and the report on the stock. */
import { type Html, html } from './html.ts';
import type { Order } from './orders.ts';
import { layout, price, type Viewer } from './pages.ts';

export interface StockReport {
  readonly text: string;
  readonly due: Date;
  readonly madeBy: string;
}

export function ordersPage(viewer: Viewer, orders: readonly Order[]): Html {
  const rows = orders.map(
    ({ number, placedAt, pieces, invoice, totalCents }) =>
      html`<tr><td>${number}</td><td>${moment(placedAt)}</td><td>${pieces}</td>
<td>${invoice === null ? html`<span class="soft">tonight</span>` : `No. ${invoice}`}</td><td>${price(totalCents)}</td></tr>`,
  );
  const table = html`<table><thead><tr><th>Order</th><th>Placed</th><th>Pieces</th><th>Invoice</th><th>Together</th></tr></thead>
<tbody>${rows}</tbody></table>`;
  return layout(
    'Orders',
    viewer,
    html`<div class="narrow card"><h1>Orders and invoices</h1>
${orders.length > 0 ? table : html`<p class="soft">Nothing ordered yet. <a href="/basket">To the basket.</a></p>`}
<p class="soft">Invoices are written at two in the morning, Amsterdam time, once for each order, whichever instance
does it and whatever happens to it meanwhile. Impatient? <code>holdfast events trigger nightly-invoices</code></p></div>`,
  );
}

export function stockPage(viewer: Viewer, report: StockReport | undefined): Html {
  const shown = report
    ? html`<pre>${report.text}</pre><p class="soft">As of ${moment(report.due)}, counted by ${report.madeBy}.</p>`
    : html`<p class="soft">Nothing has been counted yet. It is every quarter of an hour.</p>`;
  return layout('Stock', viewer, html`<div class="narrow card"><h1>Stock</h1>${shown}</div>`);
}

function moment(at: Date): string {
  return `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

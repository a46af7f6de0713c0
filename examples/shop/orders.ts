/**
 * Orders, and the invoices that a scheduled event writes for them at night.
 *
 * An order is placed with one statement: lines and head, or nothing. An invoice is written by whichever instance was
 * given the run, inside `run.transaction`: if two ever believed that it was theirs, the ledger refuses one of them,
 * and its invoices are as if they had never been.
 */
// In an application of your own: from 'holdfast/events'.
import type { EventRun, TransactionClient } from '../../src/events/index.ts';
import type { Database } from './database.ts';
import { Refusal } from './refusal.ts';

export interface Order {
  readonly number: string;
  readonly placedAt: Date;
  readonly pieces: number;
  readonly totalCents: number;
  /** Null until the night after. */
  readonly invoice: string | null;
}

const insertOrder = `
  with placed as (
    insert into shop.purchase (customer) values ($1) returning id
  ), lines as (
    insert into shop.purchase_line (purchase, product, pieces, price_cents)
    select placed.id, p.id, ordered.pieces, p.price_cents
    from placed, (select item, count(*) as pieces from unnest($2::text[]) as item group by item) ordered
    join shop.product p on p.id = ordered.item
  )
  select id::text as number from placed
`;

const readOrders = `
  select p.id::text as number, p.placed_at as "placedAt", i.number::text as invoice,
         sum(l.pieces)::int as pieces, sum(l.pieces * l.price_cents)::int as "totalCents"
  from shop.purchase p
  join shop.purchase_line l on l.purchase = p.id
  left join shop.invoice i on i.purchase = p.id
  where p.customer = $1
  group by p.id, i.number order by p.id desc limit 50
`;

// Of orders placed before the run was due: one that runs late, or again, invoices the same ones.
const insertInvoices = `
  insert into shop.invoice (purchase, amount_cents, issued_by)
  select p.id, (select sum(l.pieces * l.price_cents) from shop.purchase_line l where l.purchase = p.id), $2
  from shop.purchase p
  where p.placed_at < $1 and not exists (select from shop.invoice i where i.purchase = p.id)
  order by p.id
  returning number
`;

/** Answers the number of the order. What is in the basket and is no product of ours is not ordered. */
export async function placeOrder(
  database: Database,
  customer: string,
  basket: readonly string[],
  known: ReadonlySet<string>,
): Promise<string> {
  const items = basket.filter((item) => known.has(item));
  if (items.length === 0) throw new Refusal(409, 'There is nothing in the basket that can be ordered.');
  const [order] = await database.query<{ number: string }>(insertOrder, [customer, items]);
  if (!order) throw new Error('An order was placed and has no number');
  return order.number;
}

export function ordersOf(database: Database, customer: string): Promise<Order[]> {
  return database.query<Order>(readOrders, [customer]);
}

/** The scheduled event. What the transaction returns stands in the ledger as the result of the run. */
export async function writeInvoices(run: EventRun, database: Database, instance: string): Promise<void> {
  await database.prepare();
  await run.transaction(async (client: TransactionClient) => {
    const { rows } = await client.query<{ number: string }>(insertInvoices, [run.due, instance]);
    return `${rows.length} ${rows.length === 1 ? 'invoice' : 'invoices'}`;
  });
}

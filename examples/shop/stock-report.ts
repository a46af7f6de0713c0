/**
 * What is left of each product. A scheduled event starts this as a command, on one instance, every quarter of an
 * hour; what it prints stands in the ledger, and the shop shows the latest report at /stock.
 *
 *   HOLDFAST_DATABASE, HOLDFAST_INSTANCE  as for the shop
 *   HOLDFAST_DUE, HOLDFAST_TOKEN          the moment it was due, and the run's token, which rises with every run
 *
 * A command has no `run.transaction`. What it stores carries its token instead, and an older one never replaces what
 * a newer one wrote: a process that was frozen in the middle and thawed much later does no harm.
 */
import { fileURLToPath } from 'node:url';
import { seed } from './catalogue.ts';
import { type Database, openDatabase } from './database.ts';

interface Stock {
  readonly product: string;
  readonly left: number;
  readonly sold: number;
}

const reorderBelow = 10;

const readStock = `
  select p.name as product, coalesce(sum(l.pieces), 0)::int as sold,
         (p.stocked - coalesce(sum(l.pieces), 0))::int as left
  from shop.product p left join shop.purchase_line l on l.product = p.id
  group by p.id order by p.position, p.id
`;

const keepReport = `
  insert into shop.stock_report (due, text, made_by, token) values ($1, $2, $3, $4)
  on conflict (due) do update set text = excluded.text, made_by = excluded.made_by, token = excluded.token, made_at = now()
  where stock_report.token < excluded.token
  returning due
`;

const forgetReports = `
  delete from shop.stock_report
  where due < (select due from shop.stock_report order by due desc offset 99 limit 1)
`;

/** The report's text. Rejects, and stores nothing, where a newer run has stored its own. */
export async function reportStock(
  database: Database,
  run: { readonly due: string; readonly token: string; readonly instance: string },
): Promise<string> {
  const text = tableOf(await database.query<Stock>(readStock));
  const kept = await database.query(keepReport, [run.due, text, run.instance, run.token]);
  if (kept.length === 0)
    throw new Error(`Run ${run.token} is out of date: a later one has made this report.`);
  await database.query(forgetReports);
  return text;
}

function tableOf(stock: readonly Stock[]): string {
  const lines = stock.map(({ product, left, sold }) => {
    const numbers = `${String(left).padStart(5)} left ${String(sold).padStart(5)} sold`;
    return `${product.padEnd(20)}${numbers}${left < reorderBelow ? '   order more' : ''}`;
  });
  return lines.join('\n');
}

async function main(): Promise<void> {
  const { HOLDFAST_DATABASE: url, HOLDFAST_DUE, HOLDFAST_TOKEN, HOLDFAST_INSTANCE } = process.env;
  if (!url)
    throw new Error('HOLDFAST_DATABASE is not set. It comes with the environment of the scheduled event.');
  const database = openDatabase(url, seed);
  try {
    const due = HOLDFAST_DUE ?? new Date().toISOString();
    const run = { due, token: HOLDFAST_TOKEN ?? '0', instance: HOLDFAST_INSTANCE ?? 'by hand' };
    console.log(await reportStock(database, run));
  } finally {
    await database.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error: Error) => {
    console.error(error.message);
    process.exitCode = 1;
  });
}

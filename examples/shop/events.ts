/** The scheduled events that are handled here; when they are due stands in holdfast.yaml. */
import type { FastifyInstance } from 'fastify';
// In an application of your own: from 'holdfast/events'.
import { openEvents } from '../../src/events/index.ts';
import type { Database } from './database.ts';
import { writeInvoices } from './orders.ts';
import type { PictureCopies } from './picture-copies.ts';

export async function handleEvents(
  app: FastifyInstance,
  parts: { readonly instance: string; readonly database: Database; readonly copies: PictureCopies },
): Promise<void> {
  const { instance, database, copies } = parts;
  const events = openEvents({ log: app.log });
  app.addHook('onClose', () => events.close());

  // On one instance.
  events.onEvent('nightly-invoices', (run) => writeInvoices(run, database, instance));

  // On each: every instance has copies of its own.
  events.onEvent('picture-clean-up', async (run) => {
    const { unusedHours = 24 } = (run.payload ?? {}) as { unusedHours?: number };
    const removed = await copies.removeUnused(unusedHours * 3_600_000, run.signal);
    return `${removed} ${removed === 1 ? 'copy' : 'copies'} removed`;
  });

  await app.register(events.fastify());
}

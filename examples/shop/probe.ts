/** What the shop tells `holdfast doctor`, and nobody else: docs/doctor.md. */
import type { FastifyInstance } from 'fastify';
// In an application of your own: from 'holdfast/doctor'.
import { openProbe } from '../../src/doctor/index.ts';
import type { Database } from './database.ts';

export async function tellDoctor(
  app: FastifyInstance,
  parts: { readonly instance: string; readonly filesDirectory: string; readonly database: Database },
): Promise<void> {
  const { instance, filesDirectory, database } = parts;
  const probe = openProbe({
    instance,
    files: filesDirectory,
    database: () => database.query('select 1'),
    // It asks nobody, so what it answers now is what it answers then.
    healthWithoutDatabase: async () => ({
      status: (await app.inject({ url: '/health' })).statusCode,
      why: 'all instances share one database, and the front page is served without it',
    }),
    ownWork: ['picture-clean-up'],
  });
  await app.register(probe.fastify());
}

/** Runs the conformance suite against three stores and shows which of its checks each one fails. */

import pg from 'pg';
import { openSessions } from '../../src/sessions/index.ts';
import { type SessionStoreSubject, sessionStoreChecks } from '../../src/testing/session-store-suite.ts';
import { type CountingDatabase, startCountingDatabase } from './database.ts';
import { createConnectPgSimpleTable, openConnectPgSimple, openMemoryStore } from './stores.ts';

interface Candidate {
  readonly name: string;
  readonly subject: SessionStoreSubject;
  close(): Promise<void>;
}

async function storedIn(url: string, query: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query(query);
  await client.end();
  return JSON.stringify(rows);
}

async function candidates(database: CountingDatabase): Promise<Candidate[]> {
  const ours = await database.createDatabase('checked_holdfast');
  const sessions = [openSessions({ database: ours }), openSessions({ database: ours })] as const;
  const theirs = await database.createDatabase('checked_pg_simple');
  await createConnectPgSimpleTable(theirs);
  const simple = [openConnectPgSimple(theirs), openConnectPgSimple(theirs)] as const;
  const memory = [openMemoryStore().store, openMemoryStore().store] as const;
  return [
    {
      name: 'holdfast',
      subject: {
        stores: [sessions[0].store, sessions[1].store],
        stored: () =>
          storedIn(ours, `select encode(id_hash, 'escape'), data::text, user_id from holdfast.session`),
      },
      close: async () => void (await Promise.all(sessions.map((one) => one.close()))),
    },
    {
      name: 'connect-pg-simple',
      subject: {
        stores: [simple[0].store, simple[1].store],
        stored: () => storedIn(theirs, 'select sid, sess::text from session'),
      },
      close: async () => void (await Promise.all(simple.map((one) => one.close()))),
    },
    {
      name: 'MemoryStore',
      subject: {
        stores: [memory[0], memory[1]],
        stored: async () => JSON.stringify(memory),
      },
      close: async () => undefined,
    },
  ];
}

/** How many checks holdfast fails; prints the table. */
export async function compareConformance(database: CountingDatabase): Promise<number> {
  const all = await candidates(database);
  const failures = new Map(all.map(({ name }) => [name, 0]));
  const width = Math.max(...sessionStoreChecks.map(({ name }) => name.length));
  console.log(`${'check'.padEnd(width)}  ${all.map(({ name }) => name).join('  ')}`);
  for (const check of sessionStoreChecks) {
    const cells: string[] = [];
    for (const { name, subject } of all) {
      const passed = await check.run(subject).then(
        () => true,
        () => false,
      );
      if (!passed) failures.set(name, (failures.get(name) ?? 0) + 1);
      cells.push((passed ? 'ok' : 'FAILS').padEnd(name.length));
    }
    console.log(`${check.name.padEnd(width)}  ${cells.join('  ')}`.trimEnd());
  }
  const totals = all.map(({ name }) =>
    `${failures.get(name)} of ${sessionStoreChecks.length}`.padEnd(name.length),
  );
  console.log(`${'fails'.padEnd(width)}  ${totals.join('  ')}`.trimEnd());
  for (const { close } of all) await close();
  return failures.get('holdfast') ?? 0;
}

if (import.meta.main) {
  const database = await startCountingDatabase();
  process.exitCode = (await compareConformance(database)) > 0 ? 1 : 0;
  await database.stop();
}

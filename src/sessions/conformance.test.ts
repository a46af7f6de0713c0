import { after, before, describe, test } from 'node:test';
import { openArbiter } from '../database/arbiter.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { type SessionStoreSubject, sessionStoreChecks } from '../testing/session-store-suite.ts';
import { openSessions, type Sessions, type SessionsOptions } from './index.ts';

let postgres: TestPostgres;
before(async () => {
  postgres = await startTestPostgres();
});
after(() => postgres.stop());

const variants: Record<string, SessionsOptions> = {
  'in clear': {},
  encrypted: { encryptionKey: Buffer.alloc(32, 7).toString('base64') },
};

for (const [variant, options] of Object.entries(variants))
  describe(variant, () => {
    let url: string;
    let instances: [Sessions, Sessions];
    let subject: SessionStoreSubject;

    before(async () => {
      url = await postgres.createDatabase();
      instances = [
        openSessions({ database: url, instance: 'one', ...options }),
        openSessions({ database: url, instance: 'two', ...options }),
      ];
      subject = { stores: [instances[0].store, instances[1].store], stored };
    });
    after(async () => {
      for (const sessions of instances) await sessions.close();
    });

    async function stored(): Promise<string> {
      const arbiter = openArbiter({ url });
      const rows = await arbiter.query(
        'select encode(id_hash, $1) as id, data::text, user_id from holdfast.session',
        ['escape'],
      );
      await arbiter.close();
      return JSON.stringify(rows);
    }

    for (const check of sessionStoreChecks) {
      test(`P6: ${check.name}`, () => check.run(subject));
    }
  });

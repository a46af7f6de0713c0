import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import pg from 'pg';
import { type Arbiter, openArbiter, type Query } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { type Log, silentLog } from '../support/log.ts';
import { startTestPostgres, type TestPostgres } from '../testing/postgres.ts';
import { abandonFence, type Fence, fenceLost, liftFence } from './fencing.ts';

const ttlMs = 5_000;

/** Double and single quotes, a backslash, a dollar quote, a placeholder of `format`: each would break out of something. */
const nastyInstance = `shop-1"; drop table holdfast.member; --' \\ $body$ %I %1$s`;

describe('fences on a real arbiter with real connections', () => {
  let postgres: TestPostgres;
  let directory = '';
  let databaseUrl = '';
  let arbiter: Arbiter;
  let query: Query;
  let roles = 0;
  const clients: pg.Client[] = [];

  before(async () => {
    postgres = await startTestPostgres();
    directory = await mkdtemp(join(tmpdir(), 'holdfast-fence-'));
  });
  after(async () => {
    await postgres.stop();
    await rm(directory, { recursive: true, force: true });
  });
  beforeEach(async () => {
    databaseUrl = await postgres.createDatabase();
    arbiter = openArbiter({ url: databaseUrl });
    query = arbiter.query;
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.end().catch(() => undefined))); // ended by the fence
    await arbiter.close();
  });

  /** A role for that instance; roles belong to the whole server, so each test has its own. */
  async function createRole(instance: string, options = 'login'): Promise<{ pattern: string; role: string }> {
    const pattern = `fenced${++roles}_{instance}`;
    const role = pattern.replace('{instance}', () => instance);
    const [row] = await query<{ text: string }>(
      `select format('create role %I ${options} password ''pw''', $1::text) as text`,
      [role],
    );
    await query(row?.text ?? '');
    return { pattern, role };
  }

  async function connectAs(role: string, options?: string): Promise<pg.Client & { gone: Promise<void> }> {
    // Not `user`: what the address says would win.
    const url = new URL(databaseUrl);
    url.username = encodeURIComponent(role);
    url.password = 'pw';
    const client = new pg.Client({ connectionString: url.href, ...(options && { options }) });
    clients.push(client);
    const gone = new Promise<void>((resolve) => client.once('end', resolve));
    client.on('error', () => undefined); // told by `gone`
    await client.connect();
    return Object.assign(client, { gone });
  }

  const cannotLogIn = (role: string) => assert.rejects(connectAs(role), { code: '28000' });

  const settings = (fence: Fence, log: Log = silentLog) => ({
    query,
    fence,
    clock: systemClock,
    log,
    directory,
  });
  const byRole = (pattern: string, timeoutMs = 10_000): Fence => ({ kind: 'role', role: pattern, timeoutMs });
  const byCommand = (command: string, timeoutMs = 10_000): Fence => ({ kind: 'command', command, timeoutMs });

  const joinAs = async (instance: string, agentId: string, provedDead: string[] = []) => {
    const [row] = await query<{ answer: { token: string } }>(
      `select holdfast.member_join($1, $2, $3, null, $4, 'up', '{"fence": true}') as answer`,
      [instance, agentId, provedDead, ttlMs],
    );
    return row?.answer.token ?? '';
  };

  /** That instance works on an occurrence when it falls silent, and a witness declares it lost. */
  async function lose(instance: string): Promise<void> {
    const token = await joinAs(instance, `agent-of-${instance}`);
    await query('select holdfast.event_define(1, $1)', [
      JSON.stringify([
        {
          name: 'invoices',
          place: '',
          calendar: {},
          digest: 'd',
          definition: { overlap: 'skip' },
          alarm: [],
        },
      ]),
    ]);
    const [cursor] = await query<{ ms: number }>(
      `update holdfast.event_cursor set cursor = date_trunc('milliseconds', now() - interval '1 minute')
       returning holdfast.ms(cursor) as ms`,
    );
    const dueMs = Number(cursor?.ms) + 1_000;
    const claim = {
      event: 'invoices',
      place: '',
      digest: 'd',
      cursorMs: cursor?.ms,
      toMs: dueMs,
      dueMs: [dueMs],
    };
    const [claimed] = await query<{ answer: { answers: { outcome: string }[] } }>(
      'select holdfast.event_claim($1, $2, $3) as answer',
      [instance, token, JSON.stringify([{ ...claim, overlap: 'skip', inLine: false, reruns: 3 }])],
    );
    assert.equal(claimed?.answer.answers[0]?.outcome, 'granted');
    await declareLost(instance, token);
  }

  async function declareLost(instance: string, token: string): Promise<void> {
    const witness = await joinAs('witness', 'agent-of-witness');
    await query(
      `update holdfast.member set unbroken_since = now() - interval '1 hour' where instance = 'witness'`,
    );
    await query(`update holdfast.member set lease_until = now() - interval '1 s' where instance = $1`, [
      instance,
    ]);
    const [row] = await query<{ done: boolean }>(
      'select holdfast.member_declare_lost($1, $2, $3, $4) as done',
      ['witness', witness, instance, token],
    );
    assert.equal(row?.done, true);
  }

  const heldBy = async () =>
    (await query<{ held: string | null }>(`select held from holdfast.occurrence where state = 'waiting'`))[0]
      ?.held;
  const fenceRow = async (instance: string) =>
    (
      await query<{ done: boolean; error: string | null; tries: number; later: boolean }>(
        `select done_at is not null as done, error, tries, not_before > now() as later
         from holdfast.fence where instance = $1`,
        [instance],
      )
    )[0];
  /** To abandon the fence of the agent that `lose` has lost. */
  const provedDead = (fence: Fence | undefined) => ({
    query,
    instance: 'shop-1',
    fence,
    dead: ['agent-of-shop-1'],
  });
  const dueNow = () => query('update holdfast.fence set not_before = now()');

  test('P1: what the lost instance worked on stays held until its role is locked out, and then goes on', async () => {
    const { pattern, role } = await createRole('shop-1');
    const other = await createRole('shop-2');
    const open = await Promise.all([connectAs(role), connectAs(role)]);
    const bystander = await connectAs(other.role);
    await lose('shop-1');
    assert.equal(await heldBy(), 'fence');

    assert.equal(await fenceLost(settings(byRole(pattern))), 1);
    await Promise.all(open.map(({ gone }) => gone));
    await cannotLogIn(role);
    assert.equal(await heldBy(), null);
    assert.equal((await fenceRow('shop-1'))?.done, true);
    await bystander.query('select 1');
    await connectAs(other.role);

    assert.equal(await fenceLost(settings(byRole(pattern))), 0, 'done once is done');
    assert.equal(await liftFence({ query, instance: 'shop-1', fence: byRole(pattern) }), 'lifted');
    await connectAs(role);
    assert.equal(await fenceRow('shop-1'), undefined);
    assert.equal(await liftFence({ query, instance: 'shop-1', fence: byRole(pattern) }), 'none');
  });

  test('a transaction that was open when its connection was ended has no effect', async () => {
    const { pattern, role } = await createRole('shop-1');
    await query('create table public.effects (what text)');
    await query('grant insert on public.effects to public');
    const open = await connectAs(role);
    await open.query('begin');
    await open.query(`insert into public.effects values ('too late')`);
    await lose('shop-1');
    assert.equal(await fenceLost(settings(byRole(pattern))), 1);
    await assert.rejects(open.query('commit'));
    assert.deepEqual(await query('select * from public.effects'), []);
  });

  test('P1: a connection that had passed the check of its right to log in just before is ended too', async () => {
    const { pattern, role } = await createRole('shop-1');
    await lose('shop-1');
    // It stays for three seconds where its role is checked and it is not listed under it.
    const arriving = connectAs(role, '-c post_auth_delay=3').then(
      (client) => client.gone,
      () => undefined, // ended before it was through
    );
    // Proving the password takes a few milliseconds; who is still inside after many more waits behind the check.
    let inside: { transaction: string; sinceMs: number } | undefined;
    while (inside === undefined || performance.now() - inside.sinceMs < 500) {
      const [row] = await query<{ transaction: string }>(
        `select l.virtualtransaction as transaction from pg_locks l left join pg_stat_activity a on a.pid = l.pid
         where l.locktype = 'virtualxid' and a.usesysid is null and a.datid is null`,
      );
      if (row?.transaction !== inside?.transaction) {
        inside = row && { transaction: row.transaction, sinceMs: performance.now() };
      }
    }
    const startMs = performance.now();
    assert.equal(await fenceLost(settings(byRole(pattern))), 1);
    assert.ok(performance.now() - startMs > 500, 'the fence waited for it');
    await arriving;
    const [row] = await query<{ n: number }>(
      'select count(*)::int as n from pg_stat_activity where usename = $1',
      [role],
    );
    assert.equal(row?.n, 0);
  });

  test('a name that would break out of a statement is only a name', async () => {
    const { pattern, role } = await createRole(nastyInstance.slice(0, 50));
    const instance = nastyInstance.slice(0, 50);
    assert.equal(Buffer.byteLength(role) <= 63, true);
    const open = await connectAs(role);
    await lose(instance);
    assert.equal(await fenceLost(settings(byRole(pattern))), 1);
    await open.gone;
    await cannotLogIn(role);
    assert.equal(await liftFence({ query, instance, fence: byRole(pattern) }), 'lifted');
    await connectAs(role);
    assert.equal((await query('select from holdfast.member')).length, 2);
  });

  test('a role that does not exist fences nobody: the reason is stored with what to do, and the work stays held', async () => {
    await lose('shop-1');
    const logged: string[] = [];
    const log: Log = {
      ...silentLog,
      error: (fields, message) => logged.push(`${message} ${JSON.stringify(fields)}`),
    };
    assert.equal(await fenceLost(settings(byRole('nobody_{instance}'), log)), 0);
    const row = await fenceRow('shop-1');
    assert.match(row?.error ?? '', /role "nobody_shop-1" of the lost instance does not exist\. Create it/);
    assert.deepEqual([row?.done, row?.later, await heldBy()], [false, true, 'fence']);
    assert.match(logged.join('\n'), /CANNOT BE FENCED.*tried again in 5s.*Create it/s);
    assert.equal(logged.length, 1);

    const { pattern } = await createRole('shop-1');
    assert.equal(await fenceLost(settings(byRole(pattern))), 0, 'it is put off');
    await dueNow();
    assert.equal(await fenceLost(settings(byRole(pattern))), 1);
    assert.deepEqual([(await fenceRow('shop-1'))?.error, await heldBy()], [null, null]);
  });

  test('the role that Holdfast itself connects with is refused, and keeps its login', async () => {
    await lose('shop-1');
    const [own] = await query<{ role: string }>('select current_user as role');
    assert.equal(await fenceLost(settings(byRole(own?.role ?? ''))), 0);
    assert.match((await fenceRow('shop-1'))?.error ?? '', /is the one that Holdfast itself connects with/);
    await connectAs(own?.role ?? '').catch((error) => assert.notEqual(error.code, '28000'));
  });

  test('without the rights to do it the fence fails and says which are missing', async () => {
    const { pattern } = await createRole('shop-1');
    const weak = await createRole('holdfast');
    await lose('shop-1');
    for (const statement of ['usage on schema holdfast', 'all on all tables in schema holdfast']) {
      await query(`grant ${statement} to "${weak.role}"`);
    }
    const url = new URL(databaseUrl);
    url.username = weak.role;
    url.password = 'pw';
    const limited = openArbiter({ url: url.href });
    try {
      assert.equal(await fenceLost({ ...settings(byRole(pattern)), query: limited.query }), 0);
    } finally {
      await limited.close();
    }
    assert.match((await fenceRow('shop-1'))?.error ?? '', /does not let Holdfast fence.*CREATEROLE/s);
    assert.equal(await heldBy(), 'fence');
  });

  test('two agents at once do one fence, and neither fails', async () => {
    const { pattern, role } = await createRole('shop-1');
    const open = await connectAs(role);
    await lose('shop-1');
    /** Both have taken it: the second one's turn came because the first took too long. */
    const second = openArbiter({ url: databaseUrl });
    const errors: string[] = [];
    const log: Log = { ...silentLog, error: (_, message) => errors.push(message) };
    const takesAnyway: Query = async (text, values, options) => {
      if (text.includes('fence_take')) return [{ instance: 'shop-1' }] as never;
      return second.query(text, values, options);
    };
    try {
      const done = await Promise.all([
        fenceLost(settings(byRole(pattern), log)),
        fenceLost({ ...settings(byRole(pattern), log), query: takesAnyway }),
      ]);
      assert.equal(done[0] + done[1], 1);
    } finally {
      await second.close();
    }
    await open.gone;
    assert.deepEqual(errors, []);
    assert.equal(await heldBy(), null);
  });

  test('P1: an agent that slept through a return and a second loss reports nothing as done', async () => {
    await lose('shop-1');
    /** The command of the first loss runs while the instance returns and is lost again. */
    const sleeper: Query = async (text, values, options) => {
      if (text.includes('fence_done')) {
        await abandonFence(provedDead(undefined));
        await declareLost('shop-1', await joinAs('shop-1', 'agent-anew', ['agent-of-shop-1']));
        await query(`update holdfast.occurrence set held = 'fence', fence_of = 'shop-1'`);
      }
      return query(text, values, options);
    };
    assert.equal(await fenceLost({ ...settings(byCommand('true')), query: sleeper }), 0);
    assert.deepEqual([(await fenceRow('shop-1'))?.done, await heldBy()], [false, 'fence']);
  });

  test('P1: what proves an earlier agent of the instance dead proves nothing for the one that was lost elsewhere', async () => {
    const { pattern, role } = await createRole('shop-1');
    const fence = byRole(pattern);
    // On host A shop-1 ends without a trace of why, and is started on host B, where its fence goes.
    await lose('shop-1');
    assert.equal(await fenceLost(settings(fence)), 1);
    const onHostB = await joinAs('shop-1', 'agent-on-host-b');
    assert.equal(await liftFence({ query, instance: 'shop-1', fence }), 'lifted');
    // Host B is cut off from the arbiter's cluster and goes on; somebody starts shop-1 on host A again.
    const atWork = await connectAs(role);
    await declareLost('shop-1', onHostB);
    await query(`update holdfast.occurrence set held = 'fence', fence_of = 'shop-1'`);
    const dead = ['agent-of-shop-1'];
    await joinAs('shop-1', 'agent-anew-on-host-a', dead);
    assert.equal(await abandonFence({ query, instance: 'shop-1', fence, dead }), 'pending');
    assert.deepEqual([(await fenceRow('shop-1'))?.done, await heldBy()], [false, 'fence']);
    await atWork.query('select 1');

    assert.equal(await fenceLost(settings(fence)), 1);
    await atWork.gone;
    assert.equal(await heldBy(), null);
    assert.equal(await abandonFence({ query, instance: 'shop-1', fence, dead }), 'lifted');
    await connectAs(role);
  });

  test('P1: who is lost while it waits at the fence of its predecessor leaves that fence as it is', async () => {
    await lose('shop-1');
    await declareLost('shop-1', await joinAs('shop-1', 'agent-that-waited'));
    const abandon = (dead: string[]) => abandonFence({ query, instance: 'shop-1', fence: undefined, dead });
    assert.equal(await abandon(['agent-that-waited']), 'pending');
    assert.equal(await abandon(['agent-of-shop-1']), 'lifted');
  });

  test('P1: a proof of death that is for several agents counts for the lost one among them, and none counts for an unknown one', async () => {
    await lose('shop-1');
    const dead = ['agent-before', 'agent-of-shop-1'];
    await query('update holdfast.fence set agent_id = null');
    assert.equal(await abandonFence({ query, instance: 'shop-1', fence: undefined, dead }), 'pending');
    await query(`update holdfast.fence set agent_id = 'agent-of-shop-1'`);
    assert.equal(await abandonFence({ query, instance: 'shop-1', fence: undefined, dead: [] }), 'pending');
    assert.equal(await abandonFence({ query, instance: 'shop-1', fence: undefined, dead }), 'lifted');
    assert.equal(await heldBy(), null);
  });

  test('P1: an agent that slept until the fence was lifted does not lock out the instance that is back', async () => {
    const { pattern, role } = await createRole('shop-1');
    await lose('shop-1');
    const errors: string[] = [];
    const log: Log = { ...silentLog, error: (_, message) => errors.push(message) };
    const sleeper: Query = async (text, values, options) => {
      if (text.startsWith('do ')) await abandonFence(provedDead(byRole(pattern)));
      return query(text, values, options);
    };
    assert.equal(await fenceLost({ ...settings(byRole(pattern), log), query: sleeper }), 0);
    await connectAs(role);
    assert.deepEqual(errors, []);
  });

  test('a command fences by exit 0 and is told the instance by its environment alone', async () => {
    await lose(nastyInstance);
    const done = await fenceLost(settings(byCommand('printf %s "$HOLDFAST_LOST_INSTANCE" > told')));
    assert.equal(done, 1);
    assert.equal(await readFile(join(directory, 'told'), 'utf8'), nastyInstance);
    assert.equal(await heldBy(), null);
    assert.equal(await liftFence({ query, instance: nastyInstance, fence: byCommand('true') }), 'lifted');
  });

  test('a command that exits with 1 or takes too long has fenced nobody; the next one may', async () => {
    await lose('shop-1');
    assert.equal(await fenceLost(settings(byCommand('echo no answer from the power switch >&2; exit 1'))), 0);
    assert.match(
      (await fenceRow('shop-1'))?.error ?? '',
      /exited with code 1.*no answer from the power switch/s,
    );
    await dueNow();
    assert.equal(await fenceLost(settings(byCommand('sleep 300', 200))), 0);
    assert.match((await fenceRow('shop-1'))?.error ?? '', /did not end within 200ms and was killed/);
    assert.equal(await heldBy(), 'fence');
    await dueNow();
    assert.equal(await fenceLost(settings(byCommand('exit 0'))), 1);
    assert.equal(await heldBy(), null);
  });

  test('a command that counts on {instance} being replaced is refused instead of being run', async () => {
    await lose('shop-1');
    assert.equal(await fenceLost(settings(byCommand('touch ran-{instance}'))), 0);
    assert.match((await fenceRow('shop-1'))?.error ?? '', /HOLDFAST_LOST_INSTANCE/);
    assert.equal(await heldBy(), 'fence');
  });

  test('P5: proof that the old ones are dead is as good as a fence, even one that is half done', async () => {
    const { pattern, role } = await createRole('shop-1');
    await lose('shop-1');
    assert.equal(await liftFence({ query, instance: 'shop-1', fence: byRole(pattern) }), 'pending');
    assert.equal(await heldBy(), 'fence');
    await query(`alter role "${role}" nologin`);
    assert.equal(await abandonFence(provedDead(byRole(pattern))), 'lifted');
    assert.equal(await heldBy(), null);
    assert.equal(await fenceRow('shop-1'), undefined);
    await connectAs(role);
    assert.equal(await abandonFence(provedDead(byRole(pattern))), 'none');
  });
});

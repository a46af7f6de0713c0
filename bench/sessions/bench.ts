/**
 * Two instances of a small Express application, a hundred logged-in users, ten thousand requests that only read:
 * how many statements reach the database, and how many requests a second are answered. The same for Holdfast and
 * for connect-pg-simple, on the same server, in the same run. After that, the conformance table.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { compareConformance } from './conformance.ts';
import { type CountingDatabase, startCountingDatabase } from './database.ts';
import { createConnectPgSimpleTable } from './stores.ts';

const users = 100;
const requests = 10_000;
const atOnce = 32;
const statementLimit = 300;

type Kind = 'holdfast' | 'connect-pg-simple';
/** sticky: a user stays on one instance; any: each request goes to either. */
type Routing = 'sticky' | 'any';

interface User {
  readonly name: string;
  readonly cookies: Map<string, string>;
}

const agent = new Agent({ keepAlive: true, maxSockets: atOnce });

function ask(port: number, method: string, path: string, user: User): Promise<string> {
  return new Promise((resolve, reject) => {
    const cookie = [...user.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const sent = request(
      { port, host: '127.0.0.1', method, path, agent, headers: { cookie } },
      (response) => {
        for (const line of response.headers['set-cookie'] ?? []) {
          const [pair = ''] = line.split(';');
          user.cookies.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1));
        }
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => {
          text += part;
        });
        response.on('end', () => resolve(text));
        response.on('error', reject);
      },
    );
    sent.on('error', reject);
    sent.end();
  });
}

async function startServer(kind: Kind, url: string): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL('./server.ts', import.meta.url), [kind, url]);
  const [port] = (await once(child, 'message')) as [number];
  return { child, port };
}

/** Runs `work` for every number below `count`, `atOnce` at a time. */
async function inParallel(count: number, work: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

async function measure(database: CountingDatabase, kind: Kind, routing: Routing) {
  const name = `${kind.replaceAll('-', '_')}_${routing}`;
  const url = await database.createDatabase(name);
  if (kind === 'connect-pg-simple') await createConnectPgSimpleTable(url);
  const servers = [await startServer(kind, url), await startServer(kind, url)];
  const everybody = Array.from(
    { length: users },
    (_, number): User => ({ name: `user${number}`, cookies: new Map() }),
  );
  const portFor = (number: number) =>
    (servers[(routing === 'sticky' ? number : Math.floor(Math.random() * 2)) % 2] ?? servers[0])?.port ?? 0;

  await ask(portFor(0), 'GET', '/whoami', { name: 'nobody', cookies: new Map() }); // both are up and connected
  await inParallel(users, async (number) => {
    const user = everybody[number] as User;
    await ask(portFor(number), 'POST', `/login/${user.name}`, user);
  });
  await new Promise((resolve) => setTimeout(resolve, 1_500)); // connections of the first second are made

  await database.startCounting();
  const startMs = performance.now();
  await inParallel(requests, async (number) => {
    const user = everybody[number % users] as User;
    const text = await ask(portFor(number % users), 'GET', '/whoami', user);
    if (text !== JSON.stringify({ user: user.name })) throw new Error(`${user.name} was answered ${text}`);
  });
  const seconds = (performance.now() - startMs) / 1_000;
  // What was put off is counted too: every batch of touches is due within ten seconds.
  if (kind === 'holdfast') await new Promise((resolve) => setTimeout(resolve, 10_500));
  const statements = await database.countStatements(name);
  for (const { child } of servers) {
    child.disconnect();
    await once(child, 'exit');
  }
  return { kind, routing, statements, perSecond: Math.round(requests / seconds) };
}

const database = await startCountingDatabase();
try {
  console.log(`${requests} read-only requests of ${users} logged-in users, two instances\n`);
  console.log('store              routing  statements  requests/s');
  let tooMany = false;
  for (const routing of ['sticky', 'any'] as const) {
    for (const kind of ['connect-pg-simple', 'holdfast'] as const) {
      const { statements, perSecond } = await measure(database, kind, routing);
      console.log(
        `${kind.padEnd(17)}  ${routing.padEnd(7)}  ${String(statements).padStart(10)}  ${String(perSecond).padStart(10)}`,
      );
      if (kind === 'holdfast' && statements >= statementLimit) tooMany = true;
    }
  }
  console.log('');
  const failures = await compareConformance(database);
  if (tooMany) console.error(`\nHoldfast needed ${statementLimit} statements or more.`);
  process.exitCode = tooMany || failures > 0 ? 1 : 0;
} finally {
  agent.destroy();
  await database.stop();
}

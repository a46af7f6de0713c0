import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcpServer, type Server } from 'node:net';
import { after, before, test } from 'node:test';
import { HoldfastError } from '../../support/errors.ts';
import { AdminClient } from './admin-client.ts';
import { password, type RunningStandIn, startStandIn } from './stand-in.fixture.ts';

let runtime: RunningStandIn;
before(async () => {
  runtime = await startStandIn();
});
after(() => runtime.dispose());

/** What a person reads of an error: the message, then what to do. */
async function wordsOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof HoldfastError, String(error));
  return `${error.message} → ${error.remedy}`;
}

/** Something that listens where an admin port is expected. */
async function elsewhere(t: { after(work: () => void): void }, server: Server): Promise<AdminClient> {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.after(() => void server.close());
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return new AdminClient({ host: '127.0.0.1', port, password });
}

const answering = (handler: RequestListener): Server => createServer(handler);

test('actions bring their feedback, checked', async () => {
  assert.deepEqual(await runtime.client.call('echo', { echo: 'ping' }), { echo: 'pong' });
  assert.deepEqual(await runtime.client.call('runtime_status'), { status: 'created' });
  const { name, version } = await runtime.client.call('about');
  assert.deepEqual([name, version], ['Mendix Runtime (stand-in)', '9.6.0']);
});

test('critical lines in the log come with echo', async () => {
  await runtime.installation.behave({ criticalLog: ['out of memory'] });
  const { echo, errors } = await runtime.client.call('echo', { echo: 'ping' });
  assert.equal(echo, undefined);
  assert.match(JSON.stringify(errors), /out of memory/);
  await runtime.installation.behave({});
});

test('an action that does not exist yet means that the runtime is not fully running', async () => {
  assert.equal(
    await wordsOf(runtime.client.call('get_logged_in_user_names', { limit: 10 })),
    'The runtime is not fully running yet: it is created (get_logged_in_user_names answered -5). → Wait until it is running; `holdfast status` shows it.',
  );
});

test('health can be asked only of a runtime that runs', async () => {
  assert.match(
    await wordsOf(runtime.client.call('check_health')),
    /does not run, so its health cannot be asked/,
  );
});

test('a wrong admin password is said to be one', async () => {
  const client = new AdminClient({ host: '127.0.0.1', port: runtime.adminPort, password: 'another' });
  assert.equal(
    await wordsOf(client.call('runtime_status')),
    'The runtime refused the admin password (runtime_status answered -4). The runtime says: Forbidden → It was started by somebody else, or with another password: stop that runtime; its agent starts it with the right one.',
  );
});

test('a setting that the runtime does not accept is named', async () => {
  assert.match(
    await wordsOf(runtime.client.call('update_configuration', { ScheduledEventExecution: 'SOME' })),
    /^The runtime does not accept a setting .*ScheduledEventExecution: 'SOME' is not one of NONE, ALL, SPECIFIED → Correct it under `app.settings`\.$/,
  );
});

test('two log subscribers of one name are refused', async () => {
  const subscriber = { type: 'syslog', name: 'Twice', autosubscribe: 'INFO' };
  await runtime.client.call('create_log_subscriber', subscriber);
  assert.match(
    await wordsOf(runtime.client.call('create_log_subscriber', subscriber)),
    /of this name already/,
  );
});

test('an admin port on which a web page answers is no runtime', async (t) => {
  const client = await elsewhere(
    t,
    answering((_request, response) => response.end('<html>hello</html>')),
  );
  assert.match(
    await wordsOf(client.call('runtime_status')),
    /^The admin port 127\.0\.0\.1:\d+ is answered by something else: <html>hello<\/html>\. → Something else listens on this port: free it, or set `app\.mendix\.adminPort` to another one\.$/,
  );
});

test('an admin port that answers with another status is no runtime', async (t) => {
  const client = await elsewhere(
    t,
    answering((_request, response) => response.writeHead(404).end('no such page')),
  );
  assert.match(
    await wordsOf(client.call('echo', { echo: 'ping' })),
    /something else: 404 Not Found: no such page/,
  );
});

test('an answer in another form than the documented one is not believed', async (t) => {
  const client = await elsewhere(
    t,
    answering((_request, response) => response.end('{"result":0,"feedback":{"status":7}}')),
  );
  assert.match(
    await wordsOf(client.call('runtime_status')),
    /in a form that is not the documented one \(status: /,
  );
});

test('something that does not speak HTTP is no runtime', async (t) => {
  const client = await elsewhere(
    t,
    createTcpServer((socket) => void socket.on('error', () => undefined).end('220 mail ready\r\n')),
  );
  assert.match(await wordsOf(client.call('runtime_status')), /does not speak HTTP/);
});

test('an admin port that never answers is not waited for longer than asked', async (t) => {
  const client = await elsewhere(
    t,
    answering(() => undefined),
  );
  assert.match(
    await wordsOf(client.call('runtime_status', undefined, { timeoutMs: 50 })),
    /not answered within 50 ms/,
  );
});

test('an admin port where nobody listens says so', async () => {
  const client = new AdminClient({ host: '127.0.0.1', port: 1, password });
  assert.match(await wordsOf(client.call('runtime_status')), /refuses connections: the runtime does not run/);
});

test('a shutdown drops the connection, and the process ends cleanly', async () => {
  const own = await startStandIn();
  try {
    await own.client.shutdown(20_000);
    assert.equal(await own.exited, 0);
  } finally {
    await own.dispose();
  }
});

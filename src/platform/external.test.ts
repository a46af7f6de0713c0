import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import { externalPlatform } from './external.ts';
import type { StartSpec } from './platform.ts';

const spec: StartSpec = {
  address: { host: '127.0.0.1', port: 1 },
  environment: {},
  onOutput: () => assert.fail('an external instance prints nothing here'),
};

test('an external instance is where its URL says and has no process', async () => {
  const instance = await externalPlatform({ url: 'http://10.0.0.7:8081' }).start(spec);
  assert.equal(instance.pid, undefined);
  assert.deepEqual(instance.address, { host: '10.0.0.7', port: 8081 });
});

test('the port of HTTP is understood, and an IPv6 address loses its brackets', async () => {
  const address = async (url: string) => (await externalPlatform({ url }).start(spec)).address;
  assert.deepEqual(await address('http://app1.example.com/'), { host: 'app1.example.com', port: 80 });
  assert.deepEqual(await address('http://[::1]:9000'), { host: '::1', port: 9000 });
});

test('it is watched until that is stopped or killed', async () => {
  const platform = externalPlatform({ url: 'http://10.0.0.7:8081' });
  const stopped = await platform.start(spec);
  const reason = await stopped.stop({ killAfterMs: 0 });
  assert.equal(await stopped.exited, reason);
  assert.equal(reason.description, 'is watched no more');
  const killed = await platform.start(spec);
  killed.kill();
  assert.deepEqual(await killed.exited, reason);
});

test('P10: an address that is no http URL is refused without repeating it', () => {
  for (const url of ['', 'app1:8080', 'https://app1', 'ftp://user:secret@app1/']) {
    assert.throws(
      () => externalPlatform({ url }),
      (error) =>
        error instanceof HoldfastError &&
        error.code === 'CONFIGURATION_INVALID' &&
        !error.message.includes('secret'),
    );
  }
});

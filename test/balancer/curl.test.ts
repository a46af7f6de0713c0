/** A client that everybody has: curl, through TLS, by HTTP/2, HTTP/1.1 and HTTP/1.0. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { startEmbeddedEngine } from '../../src/balancer/embedded/engine.ts';
import { certificatesFor } from '../../src/testing/balancer/certificates.ts';
import { arrivedHeaders, raw } from '../../src/testing/balancer/client.ts';
import { type Scene, setScene } from '../../src/testing/balancer/scene.ts';

const program = '/usr/bin/curl';
const options = existsSync(program) ? {} : { skip: `${program} is not there` };
const run = promisify(execFile);

interface Curl {
  readonly scene: Scene;
  /** Without a leading host; prints the body. */
  curl(path: string, ...args: string[]): Promise<string>;
}

async function prepare(t: TestContext): Promise<Curl> {
  const certificates = await certificatesFor(t, 'shop.example.com');
  const scene = await setScene(t, startEmbeddedEngine, { engine: { tls: { certificates, http2: true } } });
  const place = `shop.example.com:${scene.port}`;
  const fixed = ['-sS', '--max-time', '10', '--resolve', `${place}:127.0.0.1`];
  fixed.push('--cacert', certificates[0]?.certificate ?? '');
  const curl = async (path: string, ...args: string[]) => {
    const { stdout } = await run(program, [...fixed, ...args, `https://${place}${path}`], {
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout;
  };
  return { scene, curl };
}

test('curl speaks HTTP/2 when it may, and HTTP/1.1 or 1.0 when it is told to', options, async (t) => {
  const { curl } = await prepare(t);
  const version = ['-o', '/dev/null', '-w', '%{http_version} %{http_code}'];
  assert.equal(await curl('/whoami', ...version), '2 200');
  assert.equal(await curl('/whoami', '--http1.1', ...version), '1.1 200');
  assert.match(await curl('/stream', '--http1.0'), /^data: 1\n\ndata: 2\n\ndata: 3\n\n$/);
});

test('curl posts a large body by either version', options, async (t) => {
  const { scene, curl } = await prepare(t);
  const file = join(scene.folder, 'order');
  await writeFile(file, 'x'.repeat(3_000_000));
  for (const version of ['--http1.1', '--http2']) {
    const reply = await curl('/echo', version, '--data-binary', `@${file}`);
    assert.equal(JSON.parse(reply).bytes, 3_000_000, version);
    assert.deepEqual(arrivedHeaders(reply)('x-forwarded-proto'), ['https']);
    // Of unknown length, and with Expect: 100-continue.
    const streamed = await curl('/echo', version, '-T', file, '-H', 'Expect: 100-continue');
    assert.equal(JSON.parse(streamed).bytes, 3_000_000, version);
  }
});

test('curl keeps its cookie, and with it its instance', options, async (t) => {
  const { scene, curl } = await prepare(t);
  const jar = join(scene.folder, 'cookies');
  const places = new Set<string>();
  for (let i = 0; i < 6; i++) places.add(await curl('/whoami', '-b', jar, '-c', jar));
  assert.equal(places.size, 1);
});

test(
  'curl asks for many things at once, and nothing fails when an instance is killed',
  options,
  async (t) => {
    const { scene, curl } = await prepare(t);
    const codes = ['-o', '/dev/null', '-w', '%{http_code}\n'];
    const many = curl('/slow?ms=[1-60]', '-Z', '--parallel-max', '20', ...codes);
    await scene.untilRecorded('shop-1', (entry) => typeof entry.url === 'string');
    await scene.backend('shop-1').kill();
    assert.deepEqual((await many).split('\n').filter(Boolean), Array(60).fill('200'));
  },
);

test(
  'curl notices a response that breaks off, by either version and however its end is known',
  options,
  async (t) => {
    const { curl } = await prepare(t);
    const untilClosed = raw('HTTP/1.1 200 OK\r\n\r\nnot to the end', 'reset');
    for (const path of ['/half', untilClosed]) {
      for (const version of ['--http1.1', '--http2'])
        await assert.rejects(curl(path, version), `${path} ${version}`);
    }
  },
);

test('curl gets the headers of HEAD and nothing else', options, async (t) => {
  const { curl } = await prepare(t);
  assert.match(await curl('/whoami', '-I'), /^HTTP\/2 200 *\r\n[\s\S]*content-length: 6\r\n/i);
});

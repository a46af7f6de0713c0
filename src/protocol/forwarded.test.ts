import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forwardHeaders, isHost, parseTrustedProxies, plainAddress, withoutHopByHop } from './forwarded.ts';

const nobody = parseTrustedProxies([]).trusted;
const inside = parseTrustedProxies(['10.0.0.0/8', 'fd00::/8']).trusted;

const view = (list: readonly string[]) => {
  const seen: Record<string, string> = {};
  for (let i = 0; i < list.length; i += 2) seen[(list[i] as string).toLowerCase()] = list[i + 1] as string;
  return seen;
};
const facts = { peerAddress: '203.0.113.9', encrypted: false, host: 'shop.example.com', trusted: nobody };

test('what an untrusted client says of itself is dropped and replaced', () => {
  const lies = ['X-Forwarded-For', '127.0.0.1', 'x_forwarded_for', '127.0.0.1', 'X-Real-IP', '127.0.0.1'];
  lies.push('Forwarded', 'for=127.0.0.1', 'X-Forwarded-Proto', 'https', 'X-Forwarded-Host', 'evil.example');
  lies.push('X-Forwarded-User', 'admin', 'True-Client-IP', '127.0.0.1', 'Proxy', 'http://evil.example');
  const { passed, added, clientAddress, protocol } = forwardHeaders([...lies, 'Accept', '*/*'], facts);
  assert.deepEqual(passed, ['Accept', '*/*']);
  assert.deepEqual(view(added), {
    'x-forwarded-for': '203.0.113.9',
    'x-real-ip': '203.0.113.9',
    'x-forwarded-proto': 'http',
    'x-forwarded-scheme': 'http',
    'x-forwarded-port': '80',
    'x-forwarded-host': 'shop.example.com',
    forwarded: 'for=203.0.113.9;host="shop.example.com";proto=http',
  });
  assert.equal(clientAddress, '203.0.113.9');
  assert.equal(protocol, 'http');
});

test('a trusted proxy is believed, and only the part of the chain that trusted proxies wrote', () => {
  const headers = ['X-Forwarded-For', '1.1.1.1, 198.51.100.4', 'X-Forwarded-For', '10.0.0.7'];
  headers.push(
    'X-Forwarded-Proto',
    'https',
    'X-Forwarded-Host',
    'www.example.com',
    'Forwarded',
    'for=6.6.6.6',
  );
  const { added, clientAddress, protocol } = forwardHeaders(headers, {
    ...facts,
    peerAddress: '::ffff:10.0.0.8',
    trusted: inside,
  });
  assert.equal(clientAddress, '198.51.100.4');
  assert.equal(protocol, 'https');
  assert.equal(view(added)['x-forwarded-for'], '198.51.100.4, 10.0.0.7, 10.0.0.8');
  assert.equal(view(added)['x-forwarded-port'], '443');
  const expected = 'for=198.51.100.4;host="www.example.com";proto=https, for=10.0.0.7, for=10.0.0.8';
  assert.equal(view(added).forwarded, expected);
});

test('nonsense from a trusted proxy is not passed on', () => {
  const headers = ['X-Forwarded-For', 'unknown, "><script>', 'X-Forwarded-Proto', 'gopher'];
  headers.push('X-Forwarded-Host', 'a b"', 'X-Forwarded-Port', 'http');
  const { added } = forwardHeaders(headers, { ...facts, peerAddress: '10.0.0.8', trusted: inside });
  assert.equal(view(added)['x-forwarded-for'], '10.0.0.8');
  assert.equal(view(added)['x-forwarded-proto'], 'http');
  assert.equal(view(added)['x-forwarded-host'], 'shop.example.com');
  assert.equal(view(added)['x-forwarded-port'], '80');
});

test('an IPv6 client is quoted in Forwarded, and the port is taken from Host', () => {
  const { added } = forwardHeaders([], { ...facts, peerAddress: '2001:db8::1', host: 'localhost:8080' });
  assert.equal(view(added).forwarded, 'for="[2001:db8::1]";host="localhost:8080";proto=http');
  assert.equal(view(added)['x-forwarded-port'], '8080');
});

test('headers of one connection end here, with those that Connection names', () => {
  const headers = ['Connection', 'close, X-Once, Cookie', 'X-Once', '1', 'Cookie', 'a=b', 'TE', 'trailers'];
  headers.push('Upgrade', 'h2c', 'Keep-Alive', 'timeout=5', 'Transfer-Encoding', 'chunked', 'Accept', '*/*');
  assert.deepEqual(withoutHopByHop(headers), ['Cookie', 'a=b', 'Accept', '*/*']);
});

test('P10: a trusted-proxy entry that is neither an address nor a block is named', () => {
  const { trusted, invalid } = parseTrustedProxies([
    '10.0.0.0/8',
    '10.0.0.0/33',
    'proxy.example',
    '::1',
    '1.2.3/8',
  ]);
  assert.deepEqual(invalid, ['10.0.0.0/33', 'proxy.example', '1.2.3/8']);
  assert.equal(trusted.trusts('10.200.1.1'), true);
  assert.equal(trusted.trusts('::1'), true);
  assert.equal(trusted.trusts('11.0.0.1'), false);
  assert.equal(trusted.trusts('not an address'), false);
});

test('addresses are read in the forms in which proxies write them', () => {
  assert.equal(plainAddress('1.2.3.4:567'), '1.2.3.4');
  assert.equal(plainAddress('::ffff:1.2.3.4'), '1.2.3.4');
  assert.equal(plainAddress('[2001:db8::1]:443'), '2001:db8::1');
  assert.equal(plainAddress('fe80::1%eth0'), 'fe80::1');
  assert.equal(plainAddress('unknown'), undefined);
});

test('a host is a name or an address with a port, and nothing else', () => {
  for (const good of ['example.com', 'a_b.local:80', '127.0.0.1:8080', '[::1]:80', '[::1]'])
    assert.ok(isHost(good), good);
  for (const bad of ['', 'a b', 'a/b', 'a@b', 'a:b', 'a"b', 'a,b', 'x'.repeat(300)])
    assert.ok(!isHost(bad), bad);
});

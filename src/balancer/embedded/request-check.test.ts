import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defaultLimits } from '../engine.ts';
import { checkRequest, mayUpgrade } from './request-check.ts';

const check = (rawHeaders: string[], url = '/', method = 'GET') =>
  checkRequest({ method, url, rawHeaders: ['Host', 'a', ...rawHeaders] }, defaultLimits);

test('P10: framing that could be read in two ways is refused', () => {
  const statuses = [
    check(['Content-Length', '1', 'Transfer-Encoding', 'chunked']),
    check(['Content-Length', '1', 'content-length', '1']),
    check(['Content-Length', '1, 1']),
    check(['Content-Length', '0x1']),
    check(['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked']),
    check(['Transfer-Encoding', 'identity']),
    check(['Host', 'b']),
  ].map(({ refusal }) => refusal?.status);
  assert.deepEqual(statuses, [400, 400, 400, 400, 501, 501, 400]);
});

test('a body is there when its length or its coding says so', () => {
  assert.equal(check([]).request?.hasBody, false);
  assert.equal(check(['Content-Length', '0']).request?.hasBody, false);
  assert.equal(check(['Content-Length', '7']).request?.contentLength, 7);
  assert.equal(check(['transfer-encoding', 'Chunked']).request?.chunked, true);
  assert.equal(check(['Content-Length', '7', 'Expect', '100-continue']).request?.expectsContinue, true);
  assert.equal(check(['Expect', '100-continue']).request?.expectsContinue, false);
});

test('a target is a path, an absolute address, or a star for OPTIONS', () => {
  assert.deepEqual(placeOf('/a?b=c'), ['/a?b=c', 'a']);
  assert.deepEqual(placeOf('http://b.example:8080/c'), ['/c', 'b.example:8080']);
  assert.deepEqual(placeOf('HTTPS://b.example?c'), ['/?c', 'b.example']);
  assert.equal(check([], '*', 'OPTIONS').request?.target, '*');
  for (const bad of ['*', 'a', 'ftp://a/', 'http://a@b/', 'http:///x', '/a b', '/ü', '/a#b', '']) {
    assert.equal(check([], bad).refusal?.status, 400, bad);
  }
});

test('only a bodyless GET becomes a tunnel, and never one of HTTP/2', () => {
  const upgrade = (...headers: string[]) => mayUpgrade({ method: 'GET', rawHeaders: headers });
  assert.equal(upgrade('Upgrade', 'websocket'), true);
  assert.equal(upgrade('Upgrade', 'websocket', 'Content-Length', '0'), true);
  assert.equal(upgrade('Upgrade', 'h2c'), false);
  assert.equal(upgrade('Upgrade', 'websocket, h2c'), false);
  assert.equal(upgrade('Upgrade', 'HTTP/2.0'), false);
  assert.equal(upgrade('Upgrade', 'websocket', 'Content-Length', '5'), false);
  assert.equal(upgrade('Upgrade', 'websocket', 'Transfer-Encoding', 'chunked'), false);
  assert.equal(mayUpgrade({ method: 'POST', rawHeaders: ['Upgrade', 'websocket'] }), false);
});

function placeOf(url: string) {
  const { request } = check([], url);
  return [request?.target, request?.host];
}

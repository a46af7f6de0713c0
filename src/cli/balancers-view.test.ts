import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReportedTraffic } from '../members/balancers.ts';
import { type BalancerRow, balancersText } from './balancers-view.ts';

const traffic: ReportedTraffic = {
  state: 'up',
  healthy: true,
  inFlight: 1,
  idleMs: 3,
  users: 12,
  requests: 1_240,
  responses: [7, 1_204, 10, 3, 0],
  replayed: 4,
  failed: 1,
  unknown: 1,
};

const balancer: BalancerRow = {
  balancer: 'b1',
  state: 'up',
  listen: '0.0.0.0:8080',
  engine: 'embedded',
  traffic: { 'shop-1': traffic, 'shop-2': { ...traffic, users: 9, failed: 0, unknown: 0 } },
  losses: [],
  certificates: [],
};

const lossAt = (atWallMs: number) =>
  ({
    instance: 'shop-2',
    atWallMs,
    reason: 'lost',
    replayed: 3,
    failed: 1,
    unknown: 1,
    endedWallMs: null,
  }) as const;

const linesOf = (...balancers: BalancerRow[]): string[] => balancersText(balancers).split('\n');

test('a balancer is a line of figures, summed over its instances, and a line of its users', () => {
  assert.deepEqual(linesOf(balancer), [
    '  balancer  state  address       engine    2xx    3xx  4xx  5xx  replayed  failed  unknown fate',
    '  b1        up     0.0.0.0:8080  embedded  2,408  20   6    0    8         1       1',
    '    users: shop-1 12, shop-2 9',
  ]);
});

test('where users cannot be told apart there is no line of them', () => {
  const one = { ...balancer, traffic: { 'shop-1': { ...traffic, users: null } } };
  assert.equal(linesOf(one).length, 2);
  const some = { ...balancer, traffic: { 'shop-1': { ...traffic, users: null }, 'shop-2': traffic } };
  assert.equal(linesOf(some)[2], '    users: shop-2 12');
});

test('the last three losses stand beneath their balancer, with their moment in UTC', () => {
  const first = Date.parse('2027-01-02T12:03:05Z');
  const losses = [0, 1, 2, 3].map((minutes) => lossAt(first + minutes * 60_000));
  const lines = linesOf({ ...balancer, losses }, { ...balancer, balancer: 'b2' });
  const cost = 'shop-2 was lost: 3 requests replayed, 1 failed, 1 of them of unknown fate';
  assert.deepEqual(lines.slice(3, 6), [
    `    2027-01-02 12:04:05Z ${cost}`,
    `    2027-01-02 12:05:05Z ${cost}`,
    `    2027-01-02 12:06:05Z ${cost}`,
  ]);
  assert.match(lines[6] ?? '', /^ {2}b2 {8}up/);
});

test('a certificate is mentioned when fewer than thirty days are left', () => {
  const certificate = (daysLeft: number) => ({
    certificate: `/etc/${daysLeft}.crt`,
    names: ['a.example.com', 'b.example.com'],
    daysLeft,
  });
  const certificates = [30, 29, 1, 0, -1].map(certificate);
  assert.deepEqual(linesOf({ ...balancer, certificates }).slice(3), [
    '    /etc/29.crt (a.example.com, b.example.com) ends in 29 days',
    '    /etc/1.crt (a.example.com, b.example.com) ends in 1 day',
    '    /etc/0.crt (a.example.com, b.example.com) ends today',
    '    /etc/-1.crt (a.example.com, b.example.com) has ended: browsers refuse it',
  ]);
});

test('what a balancer of another version does not report is a dash', () => {
  const { requests, replayed, failed } = traffic;
  const old = { inFlight: 0, idleMs: 1, state: 'up', healthy: true, requests, replayed, failed };
  assert.deepEqual(linesOf({ ...balancer, traffic: { 'shop-1': old as ReportedTraffic } }), [
    '  balancer  state  address       engine    2xx  3xx  4xx  5xx  replayed  failed  unknown fate',
    '  b1        up     0.0.0.0:8080  embedded  –    –    –    –    4         1       –',
  ]);
  assert.match(linesOf({ balancer: 'b1', state: 'silent' })[1] ?? '', /^ {2}b1 {8}silent {2}– {8}– /);
});

test('without a balancer that is said', () => {
  assert.equal(balancersText([]), '  no balancer');
});

test('P10: nothing that was reported is obeyed by the terminal', () => {
  const certificates = [{ certificate: '/etc/\x1b[2J.crt', names: ['a\nb'], daysLeft: 1 }];
  const [, , , line] = linesOf({ ...balancer, certificates });
  assert.equal(line, '    /etc/·[2J.crt (a b) ends in 1 day');
});

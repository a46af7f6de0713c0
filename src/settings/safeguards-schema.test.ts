import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HoldfastError } from '../support/errors.ts';
import type { Configuration } from './configuration.ts';
import { parseConfiguration } from './load.ts';
import { redacted } from './secrets.ts';

const minimal = 'cluster: shop\napp: { command: node server.js }\n';

function configured(addition: string): Configuration {
  return parseConfiguration(`${minimal}${addition}\n`, 'holdfast.yaml').configuration;
}

/** The lines of the error, without the heading. */
function problems(text: string): string[] {
  try {
    parseConfiguration(text, 'holdfast.yaml');
  } catch (error) {
    assert.ok(error instanceof HoldfastError && error.code === 'CONFIGURATION_INVALID', String(error));
    return error.message.split('\n').slice(1);
  }
  return [];
}

test('the ledger is kept for as long as is written', () => {
  assert.deepEqual(configured('ledger: {}').ledger, { keepMs: 2_592_000_000 });
  assert.deepEqual(configured('ledger: { keep: 1h }').ledger, { keepMs: 3_600_000 });
});

test('an alarm is posted or starts a command, for every bad outcome unless it is said which', () => {
  assert.deepEqual(configured('alarm: { post: "https://hooks.example.com/x?room=1" }').alarm, {
    on: ['failed', 'missed', 'abandoned'],
    hook: { kind: 'post', url: 'https://hooks.example.com/x?room=1' },
    secret: undefined,
  });
  assert.deepEqual(configured('alarm: { post: "http://h:9/", secret: { env: ALARM } }').alarm?.secret, {
    env: 'ALARM',
  });
  assert.deepEqual(configured('alarm: { command: ./tell, on: [abandoned, failed, failed] }').alarm, {
    on: ['failed', 'abandoned'],
    hook: { kind: 'command', command: './tell' },
    secret: undefined,
  });
});

test('a lost instance is fenced by a command or by its database role', () => {
  assert.deepEqual(configured('fence: { command: "ipmi off $HOLDFAST_LOST_INSTANCE" }').fence, {
    kind: 'command',
    command: 'ipmi off $HOLDFAST_LOST_INSTANCE',
    timeoutMs: 30_000,
  });
  assert.deepEqual(configured('fence: { role: "shop_{instance}", timeout: 5s }').fence, {
    kind: 'role',
    role: 'shop_{instance}',
    timeoutMs: 5_000,
  });
});

/** What follows the minimal file, and the one line that it must be answered with. */
const refusals: readonly [addition: string, expected: RegExp][] = [
  ['ledger: 30d', /:3:9: ledger: expected a map, found "30d"/],
  ['ledger: { keep: 5m }', /:3:17: ledger.keep: expected a duration from 1h to 3650d, found "5m"/],
  ['ledger: { keeps: 5d }', /:3:11: ledger.keeps: unknown key; did you mean "keep"\?/],
  [
    'alarm: {}',
    /:3:1: alarm.post: expected where the alarm goes: post: URL or command: COMMAND, found nothing/,
  ],
  [
    'alarm: { post: "https://h/", command: x }',
    /:3:39: alarm.command: an alarm goes to one place, and this one has two: post, command/,
  ],
  [
    'alarm: { command: x, secret: { env: S } }',
    /:3:30: alarm.secret: a secret is sent with `post` only: a command finds its own/,
  ],
  ['alarm: { command: x, on: failed }', /:3:26: alarm.on: expected a list of failed, missed and abandoned/],
  ['alarm: { command: x, on: [] }', /:3:26: alarm.on: expected at least one of failed, missed/],
  [
    'alarm: { command: x, on: [failed, mised] }',
    /:3:35: alarm.on\[1\]: expected failed, missed or abandoned, found "mised"; did you mean "missed"\?/,
  ],
  ['alarm: { post: "ftp://h/x" }', /:3:16: alarm.post: expected an http or https address, such as/],
  [
    'alarm: { post: "https://u:hunter2@h/x" }',
    /alarm.post: .* without user, password or fragment; .* `secret`/,
  ],
  ['alarm: { command: x, pst: "https://h/hunter2" }', /alarm.pst: unknown key; did you mean "post"\?/],
  [
    'alarm: { post: "htps://h/hunter2" }',
    /alarm.post: expected an http or https address, .* \(not shown here\)/,
  ],
  ['alarm: { post: "https://h/", secret: hunter2 }', /alarm.secret: expected a reference to a secret/],
  ['fence: {}', /:3:8: fence: expected \{command: COMMAND\} or \{role: ROLE\}, found an empty map/],
  ['fence: ./off', /:3:8: fence: expected \{command: COMMAND\} or \{role: ROLE\}, found ".\/off"/],
  ['fence: { command: x, role: "a_{instance}" }', /:3:8: fence: expected \{command: .* found a map/],
  ['fence: { command: "off {instance}" }', /:3:19: fence.command: expected \$HOLDFAST_LOST_INSTANCE/],
  ['fence: { rol: "a_{instance}" }', /:3:10: fence.rol: unknown key; did you mean "role"\?/],
  [
    'fence: { role: shop }',
    /:3:16: fence.role: expected a name that contains \{instance\}: .* would lock out every instance .*found "shop"/,
  ],
  ['fence: { role: "shop {instance}" }', /:3:16: fence.role: expected the name of a database role/],
  ['fence: { role: "shop_{host}" }', /:3:16: fence.role: expected the name of a database role/],
  ['fence: { command: x, timeout: 2h }', /:3:31: fence.timeout: expected a duration from 100ms to 1h/],
  [
    `fence: { role: "{instance}_${'x'.repeat(60)}" }`,
    /:3:16: fence.role: the role of the instance "shop-1" is longer than the 63 characters/,
  ],
];

for (const [addition, expected] of refusals) {
  test(`P10: refused, and says why: ${addition}`, () => {
    const lines = problems(`${minimal}${addition}\n`);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', expected);
    assert.ok(!lines[0]?.includes('hunter2'), lines[0]);
  });
}

test('a document is shown without the tokens that the address of a webhook carries', () => {
  assert.deepEqual(redacted({ alarm: { post: 'https://h/x?room=1&api_token=hunter2&y=2' } }), {
    alarm: { post: 'https://h/x?room=1&api_token=***&y=2' },
  });
});

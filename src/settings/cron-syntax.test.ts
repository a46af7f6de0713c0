import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cronProblem } from './cron-syntax.ts';

for (const cron of [
  '* * * * *',
  '0 2 * * *',
  '0 0 * * FRI-SUN',
  '*/15 0-6,22-23 1 jan-MAR mon',
  '30 0 2 * * 7',
  '0 0 L * *',
  '0 0 ? * mon#2',
  '0 0 * * 5L',
  '0 0 29 2 *',
  '0 0 31 2 mon',
  '5/10 * * * *',
]) {
  test(`"${cron}" is a cron schedule`, () => assert.equal(cronProblem(cron), undefined));
}

const refused: Record<string, RegExp> = {
  '': /5 fields, or 6 .* has none/,
  '0 2 * *': /has 4$/,
  '0 0 0 0 0 0 0': /has 7$/,
  '60 * * * *': /"minute" has "60", which is not a number from 0 to 59/,
  '* 24 * * *': /"hour" has "24"/,
  '* * 0 * *': /"day of month" has "0"/,
  '* * * 13 *': /"month" has "13", .*jan, feb/,
  '* * * * 8': /"day of week" has "8"/,
  '* * * * mo': /"day of week" has "mo"/,
  '*/0 * * * *': /the step "0"/,
  '*/x * * * *': /the step "x"/,
  '1/2/3 * * * *': /more than one "\/"/,
  '5-1 * * * *': /ends before it begins/,
  '1-2-3 * * * *': /more than one "-"/,
  '1,,2 * * * *': /an empty place/,
  '? * * * *': /"minute" has "\?"/,
  '0 0 31 2,4 *': /does not exist, so it would never be due/,
};

for (const [cron, reason] of Object.entries(refused)) {
  test(`"${cron}" is no cron schedule, and the reason is told`, () => {
    assert.match(cronProblem(cron) ?? '', reason);
  });
}

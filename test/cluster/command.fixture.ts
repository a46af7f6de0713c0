/** Work as a command: it does its steps until it is done or killed, and asks nobody whether it still may. */
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { openJournal, stepMs, type WorkOrder, workMsOf } from './journal.fixture.ts';

const environment = process.env;
const order = JSON.parse(environment.HOLDFAST_PAYLOAD ?? '{}') as WorkOrder;
const isChild = environment.WORKER_CHILD === 'yes';
const attempt = Number(environment.HOLDFAST_ATTEMPT);
const dueMs = Date.parse(environment.HOLDFAST_DUE ?? '');
const note = openJournal(environment.WORKER_JOURNAL ?? '.', {
  event: environment.HOLDFAST_EVENT ?? '',
  place: environment.HOLDFAST_PLACE ?? '',
  dueMs,
  attempt,
  token: environment.HOLDFAST_TOKEN ?? '',
  agent: environment.HOLDFAST_INSTANCE ?? '',
  cause: environment.HOLDFAST_CAUSE === 'manual' ? 'manual' : 'schedule',
});

if (order.stubborn) process.on('SIGTERM', () => undefined);
if (!isChild) note('began', order);
if (order.child && !isChild)
  spawn(process.execPath, [import.meta.filename], {
    env: { ...environment, WORKER_CHILD: 'yes' },
    stdio: 'ignore',
  }).unref();

const endMs = performance.now() + workMsOf(order, { attempt, dueMs });
while (performance.now() < endMs) {
  note(isChild ? 'child' : 'step');
  await delay(stepMs);
}
if (!isChild) {
  if (attempt <= (order.failures ?? 0)) {
    note('failed');
    process.exitCode = 3;
  } else note('completed');
}
process.stdout.write(`worked as attempt ${attempt}\n`);

/**
 * An application for the event tests. Its handlers work in steps and write down each of them (journal.fixture.ts);
 * how long and how, the payload says. What it is told of appointments it writes into a file of its own.
 */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import express from 'express';
import { openArbiter } from '../../src/database/arbiter.ts';
import { sqlState } from '../../src/database/primary.ts';
import { type EventRun, openEvents } from '../../src/events/index.ts';
import { openJournal, stepMs, type WorkOrder, workMsOf } from './journal.fixture.ts';

const { WORKER_JOURNAL: folder = '.', HOLDFAST_INSTANCE: instance = '' } = process.env;
const events = openEvents();
const names = (variable: string): string[] => (process.env[variable] ?? '').split(',').filter(Boolean);
const perInstance = new Set(names('WORKER_EACH'));

async function work(run: EventRun): Promise<string> {
  const order = (run.payload ?? {}) as WorkOrder;
  const note = openJournal(folder, {
    event: run.event,
    place: perInstance.has(run.event) ? instance : '',
    dueMs: run.due.getTime(),
    attempt: run.attempt,
    token: String(run.token),
    agent: instance,
    cause: run.cause,
  });
  note('began', run.payload);
  try {
    await (order.stubborn
      ? delay(workMsOf(order, { attempt: run.attempt, dueMs: run.due.getTime() }))
      : inSteps(run, order, () => note('step')));
    if (order.commit) await commit(run);
    if (run.attempt <= (order.failures ?? 0)) {
      note('failed');
      throw new Error(`attempt ${run.attempt} fails, as it was told to`);
    }
    run.signal.throwIfAborted();
    note('completed');
  } catch (error) {
    const why = (error as Error).message;
    if (order.stubborn) note('refused', { why, sqlState: await commitAgainstAdvice(run) });
    else if (run.signal.aborted) note('aborted', why);
    else note('failed', why);
    throw error;
  }
  return `${run.event} on ${instance}`;
}

async function inSteps(run: EventRun, order: WorkOrder, step: () => void): Promise<void> {
  const endMs = performance.now() + workMsOf(order, { attempt: run.attempt, dueMs: run.due.getTime() });
  while (performance.now() < endMs) {
    run.signal.throwIfAborted();
    step();
    await delay(Math.min(stepMs, Math.max(0, endMs - performance.now())));
  }
}

const insertEffect = 'insert into public.effects (event, due, token) values ($1, $2, $3)';
const effectOf = (run: EventRun) => [run.event, run.due.toISOString(), String(run.token)];

const commit = (run: EventRun): Promise<unknown> =>
  run.transaction((client) => client.query(insertEffect, effectOf(run)));

/** What the SDK would not even send: does the database refuse it by itself? */
async function commitAgainstAdvice(run: EventRun): Promise<string | undefined> {
  const arbiter = openArbiter({ url: process.env.HOLDFAST_DATABASE ?? '', max: 1 });
  try {
    await arbiter.transaction(async (query) => {
      await query(insertEffect, effectOf(run));
      await query('select holdfast.run_commit($1, null)', [String(run.token)]);
    });
    return undefined;
  } catch (error) {
    return sqlState(error) ?? String(error);
  } finally {
    await arbiter.close();
  }
}

for (const name of names('WORKER_EVENTS')) events.onEvent(name, work);

/** A scheduler as applications have it: it fires on every instance at the same time, by the instance's own clock. */
async function fireEverySecond(name: string): Promise<void> {
  for (;;) {
    await delay(1_000 - (Date.now() % 1_000));
    const askedMs = Date.now();
    void events
      .gate(name, work)
      .catch((error: Error) => ({ run: false, reason: error.message }))
      .then((answer) => {
        const line = JSON.stringify({ instance, event: name, askedMs, ...answer });
        appendFileSync(join(folder, 'gate-answers'), `${line}\n`);
      });
  }
}

const app = express();
app.get('/health', (_request, response) => void response.send('OK'));
app.post('/appointment', (request, response) => {
  const change = request.headers['holdfast-appointment'];
  const event = request.headers['holdfast-event'];
  const line = JSON.stringify({ instance, event, change, pid: process.pid, atMs: Date.now() });
  appendFileSync(join(folder, 'appointments'), `${line}\n`);
  response.send('OK');
});
app.use(events.express());
const server = createServer(app).listen(Number(process.env.PORT), '127.0.0.1', () => {
  for (const name of names('WORKER_GATES')) void fireEverySecond(name);
});
process.on('SIGTERM', () => {
  server.close(() => void events.close().then(() => process.exit(0)));
  server.closeIdleConnections();
});

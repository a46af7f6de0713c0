/**
 * An application for the event tests: its handlers write a journal of what they do, a line of JSON each, appended
 * at once, so that it outlives whoever is killed. Work is waiting; how long, the payload says.
 */
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import express from 'express';
import { openEvents } from '../../src/events/index.ts';

const journal = join(process.env.WORKER_JOURNAL ?? '.', `${process.env.HOLDFAST_INSTANCE}.jsonl`);
const events = openEvents();

for (const name of (process.env.WORKER_EVENTS ?? '').split(',').filter(Boolean)) {
  events.onEvent(name, async (run) => {
    const { workMs = 0, commit = false } = (run.payload ?? {}) as { workMs?: number; commit?: boolean };
    const entry = {
      event: run.event,
      dueMs: run.due.getTime(),
      attempt: run.attempt,
      token: String(run.token),
      agent: process.env.HOLDFAST_INSTANCE,
      pid: process.pid,
    };
    const note = (what: string) => appendFileSync(journal, `${JSON.stringify({ ...entry, what, atMs: Date.now() })}\n`);
    note('began');
    try {
      await delay(workMs, undefined, { signal: run.signal });
      if (commit)
        await run.transaction((client) =>
          client.query('insert into public.effects (event, due, token) values ($1, $2, $3)', [
            run.event,
            run.due.toISOString(),
            String(run.token),
          ]),
        );
      note('completed');
    } catch (error) {
      note('aborted');
      throw error;
    }
    return `${run.event} on ${process.env.HOLDFAST_INSTANCE}`;
  });
}

const app = express();
app.get('/health', (_request, response) => void response.send('OK'));
app.use(events.express());
const server = createServer(app).listen(Number(process.env.PORT), '127.0.0.1');
process.on('SIGTERM', () => {
  server.close(() => void events.close().then(() => process.exit(0)));
  server.closeIdleConnections();
});

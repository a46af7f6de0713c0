/** A user who asks `/whoami` at a steady pace while something happens, and what that user saw. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer, Client } from './client.fixture.ts';

export interface Visit extends Partial<Answer> {
  readonly atMs: number;
  readonly error?: string;
}

export interface Watch {
  /** Ms after the start. */
  nowMs(): number;
  stop(): Promise<readonly Visit[]>;
}

export function watchAs(client: Client, everyMs = 50): Watch {
  const startMs = performance.now();
  const visits: Visit[] = [];
  const stop = new AbortController();
  const run = (async () => {
    while (!stop.signal.aborted) {
      const atMs = performance.now() - startMs;
      await client.get('/whoami').then(
        (answer) => visits.push({ atMs, ...answer }),
        (error: Error) => visits.push({ atMs, error: error.message }),
      );
      const spentMs = performance.now() - startMs - atMs;
      await delay(Math.max(0, everyMs - spentMs), undefined, { signal: stop.signal }).catch(() => undefined); // stopped
    }
  })();
  return {
    nowMs: () => performance.now() - startMs,
    async stop() {
      stop.abort();
      await run;
      return visits;
    },
  };
}

/** What went wrong for the user, in words; empty when nothing did. */
export function complaints(visits: readonly Visit[], user: string): string[] {
  const found: string[] = [];
  let last = 0;
  for (const { atMs, error, status, body } of visits) {
    const at = `at ${Math.round(atMs)} ms`;
    if (error) found.push(`${at}: ${error}`);
    else if (status !== 200) found.push(`${at}: status ${status} ${JSON.stringify(body)}`);
    else if (body?.user !== user) found.push(`${at}: logged out`);
    else if (Number(body.visits) < last) found.push(`${at}: visits went back from ${last} to ${body.visits}`);
    last = Math.max(last, Number(body?.visits ?? 0));
  }
  return found;
}

export const slowestMs = (visits: readonly Visit[]): number =>
  Math.max(...visits.map(({ tookMs }) => tookMs ?? 0));

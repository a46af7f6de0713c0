/** What the SDK meets in tests: an agent that answers as it is told, and runs that the real ledger knows. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Arbiter } from '../../database/arbiter.ts';

export const secret = 'the secret of this agent';

interface AgentQuestion {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: unknown;
}

export interface FakeAgent {
  readonly url: string;
  readonly questions: AgentQuestion[];
  /** Replaceable: what it says to a question; undefined: nothing, ever, as a frozen agent does. */
  answer: (question: AgentQuestion) => { status: number; body: unknown } | undefined;
  close(): Promise<void>;
}

export const renewed = (remainingMs = 5_000) => ({ status: 200, body: { remainingMs } });
export const fenced = (reason: string) => ({ status: 409, body: { error: 'fenced', reason } });

export async function startFakeAgent(): Promise<FakeAgent> {
  const server = createServer(async (request, response) => {
    const chunks = await request.toArray();
    const question = {
      path: request.url ?? '',
      authorization: request.headers.authorization,
      body: JSON.parse(Buffer.concat(chunks as Buffer[]).toString()),
    };
    agent.questions.push(question);
    const answer = agent.answer(question);
    if (!answer) return;
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer.body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const agent: FakeAgent = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    questions: [],
    answer: () => renewed(),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return agent;
}

/** Headers of a run as the agent sends them. */
export function runHeaders(
  token: bigint | string,
  changed: Record<string, string> = {},
): Record<string, string> {
  return {
    authorization: `Bearer ${secret}`,
    'content-type': 'application/json',
    'holdfast-event': 'nightly',
    'holdfast-due': '2027-03-28T01:00:00.000Z',
    'holdfast-attempt': '2',
    'holdfast-token': String(token),
    'holdfast-cause': 'schedule',
    'holdfast-timeout-ms': '20000',
    'holdfast-lease-ms': '4000',
    'idempotency-key': 'nightly/-/2027-03-28T01:00:00.000Z',
    ...changed,
  };
}

/** Members and runs in the ledger, made by the very functions that agents call. */
export async function openLedger(arbiter: Arbiter) {
  async function ask<Answer>(call: string, values: readonly unknown[]): Promise<Answer> {
    const [row] = await arbiter.query<{ answer: Answer }>(`select ${call} as answer`, values);
    assert.ok(row);
    return row.answer;
  }
  const joined = await ask<{ token: string }>(
    `holdfast.member_join('shop-1', 'agent 1', '{}', null, 60000, 'up', '{}')`,
    [],
  );
  const event = { name: 'nightly', place: '', calendar: {}, digest: 'd', definition: {}, alarm: [] };
  const [cursor] = await ask<[{ cursorMs: number }]>('holdfast.event_define(1, $1)', [
    JSON.stringify([event]),
  ]);
  let cursorMs = cursor.cursorMs;

  return {
    /** A run that is granted now. */
    async grant(): Promise<bigint> {
      const toMs = cursorMs + 1;
      const claim = {
        ...{ event: 'nightly', place: '', digest: 'd', cursorMs, toMs, missed: null, dueMs: [toMs] },
        ...{ overlap: 'allow', inLine: false, reruns: 0 },
      };
      const answer = await ask<{ outcome: string; answers: { outcome: string; token: string }[] }>(
        `holdfast.event_claim('shop-1', $1, $2)`,
        [joined.token, JSON.stringify([claim])],
      );
      const [granted] = answer.answers;
      assert.equal(granted?.outcome, 'granted', JSON.stringify(answer));
      cursorMs = toMs;
      return BigInt(granted.token);
    },
    /** Somebody else has ended it, as a takeover does. */
    async end(token: bigint, outcome = 'lost'): Promise<void> {
      const result = { token: String(token), outcome, reason: 'shop-1 was declared lost' };
      await ask('holdfast.event_finish($1)', [JSON.stringify([result])]);
    },
    async runOf(token: bigint): Promise<{ outcome: string | null; result: string | null } | undefined> {
      const [row] = await arbiter.query<{ outcome: string | null; result: string | null }>(
        'select outcome, result from holdfast.run where token = $1',
        [String(token)],
      );
      return row;
    },
  };
}

export type Ledger = Awaited<ReturnType<typeof openLedger>>;

export async function eventually(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  while (!(await isSo())) {
    assert.ok(performance.now() < deadlineMs, 'settled within ten seconds');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/**
 * What must hold at every moment for the executions of scheduled events (P1 is found out by the journal itself), and
 * what the arbiter must have settled in the statement that ended a membership.
 */
import type { LeaseTiming } from './agent.ts';
import type { Execution as Executed } from './arbiter.ts';
import type { RowView } from './invariants.ts';
import type { Execution, Journal } from './journal.ts';

export interface RunInvariants {
  /** After every event. */
  check(nowMs: number): void;
  /** A standby took over: for one ttl nobody is granted what may still be acted upon. */
  promoted(nowMs: number): void;
  executed(execution: Executed): Promise<void>;
}

export function runInvariants(options: {
  journal: Journal;
  lease: LeaseTiming;
  viewOf(instance: string): RowView | undefined;
  /** Asks the database directly; takes no time. */
  look(text: string): Promise<Record<string, unknown>[]>;
}): RunInvariants {
  const { journal, lease, viewOf } = options;
  let graceUntilMs = Number.NEGATIVE_INFINITY;

  /** P4: whoever works must hold the lease under which it began. */
  function checkHeld({ entry, instance, memberToken }: Execution, nowMs: number): void {
    const row = viewOf(instance);
    if (!row) return;
    const who = `${entry.agent} works on ${entry.event} (${entry.dueMs})`;
    if (row.token > memberToken || (row.token === memberToken && row.ended))
      throw new Error(`P4: ${who} although ${instance} was lost or given to another`);
    if (row.token === memberToken && nowMs > (row.leaseUntilMs ?? Number.POSITIVE_INFINITY))
      throw new Error(`P4: ${who} although its lease ran out ${nowMs - (row.leaseUntilMs ?? 0)} ms ago`);
  }

  return {
    check(nowMs) {
      if (nowMs < graceUntilMs) return;
      for (const execution of journal.live)
        if (execution.asleepSinceMs === undefined) checkHeld(execution, nowMs);
    },
    promoted(nowMs) {
      graceUntilMs = nowMs + lease.ttlMs;
    },
    /** P5, and the fence that every end of a membership is: its runs have ended with it. */
    async executed({ text, values, rows }) {
      const ends =
        (text.includes('member_join') &&
          (rows[0]?.answer as { outcome: string } | undefined)?.outcome === 'joined') ||
        (text.includes('member_declare_lost') && rows[0]?.done) ||
        (text.includes('member_leave') && rows[0]?.done);
      if (!ends) return;
      const instance = String(values[text.includes('member_declare_lost') ? 2 : 0]);
      const [open] = await options.look(`select r.token::text from holdfast.run r
        join holdfast.member m on m.instance = r.instance
        where r.instance = '${instance}' and r.ended_at is null and (r.member_token <> m.token or m.left_at is not null)`);
      if (open) throw new Error(`P5: run ${open.token} goes on, and its member ${instance} has ended`);
    },
  };
}

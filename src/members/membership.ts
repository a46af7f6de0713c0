/**
 * Members: one statement for each operation of the protocol. The rules are in SQL (migration 0001), where the row's
 * lock makes each atomic; this file gives them types. Nothing here reads a clock or retries.
 */
import type { Query } from '../database/arbiter.ts';
import type { EventNews } from '../protocol/event-news.ts';
import type { InstanceState } from '../protocol/instance-state.ts';

/** What an agent says of itself and of its instance. Balancers and `status` read it; the arbiter does not. */
export interface MemberFacts {
  readonly host: string;
  readonly agentPid: number;
  /** Where balancers reach the instance; null until it has an address. */
  readonly address: { readonly host: string; readonly port: number } | null;
  readonly pid: number | null;
  readonly revision: number;
  /** The agent's page for foreign balancers. */
  readonly healthPage: string | null;
  /** Why it is in its state, in words; null when there is nothing to say. */
  readonly reason: string | null;
  /** The agent's version of Holdfast. Left out by versions that did not tell. */
  readonly version?: string;
  /** Whether it must be fenced, should it be lost, before its events are run elsewhere. Left out: no. */
  readonly fence?: boolean;
  /** Whether it is the one that does what only one instance may do. Left out: no. */
  readonly leader?: boolean;
}

/** A grant: who it is for, and the token that proves it. */
export interface Membership {
  readonly instance: string;
  readonly incarnation: number;
  readonly token: bigint;
}

export interface Holder {
  readonly facts: MemberFacts;
  readonly incarnation: number;
  /** The holder's last renewal, to the microsecond, as the arbiter writes it. */
  readonly renewedAt: string;
  readonly timeline: number;
  readonly remainingMs: number;
}

export type JoinResult =
  | {
      readonly outcome: 'joined';
      readonly membership: Membership;
      readonly timeline: number;
      /** Zero, except after a failover: how long the member must wait before it acts. */
      readonly graceMs: number;
    }
  | { readonly outcome: 'held'; readonly holder: Holder };

export interface JoinRequest {
  readonly instance: string;
  readonly agentId: string;
  /** Agents whose death, and whose instance's death, was seen on this host (P5). */
  readonly provedDead: readonly string[];
  /** The holder's last renewal, if the caller has watched it for one whole ttl without a gap; else null. */
  readonly watched: string | null;
  readonly ttlMs: number;
  readonly state: InstanceState;
  readonly facts: MemberFacts;
}

export async function join(query: Query, request: JoinRequest): Promise<JoinResult> {
  const answer = await call(query, 'holdfast.member_join($1, $2, $3, $4, $5, $6, $7)', [
    request.instance,
    request.agentId,
    request.provedDead,
    request.watched,
    request.ttlMs,
    request.state,
    request.facts,
  ]);
  if (answer.outcome === 'held') return { outcome: 'held', holder: answer as unknown as Holder };
  return {
    outcome: 'joined',
    timeline: Number(answer.timeline),
    graceMs: Number(answer.graceMs),
    membership: {
      instance: request.instance,
      incarnation: Number(answer.incarnation),
      token: BigInt(answer.token as string),
    },
  };
}

export type HeartbeatResult =
  | {
      readonly outcome: 'renewed';
      readonly timeline: number;
      readonly maintenance: readonly string[];
      /** The newest revision; null where there is none. */
      readonly revision: number | null;
      /** Members whose lease ran out; always empty unless the caller is a witness. */
      readonly expired: readonly { readonly instance: string; readonly token: bigint }[];
      readonly events: EventNews;
    }
  | { readonly outcome: 'fenced'; readonly because: string };

/** Renews. `state` and `facts` are null where nothing changed since the last heartbeat that succeeded. */
export async function heartbeat(
  query: Query,
  member: Membership,
  ttlMs: number,
  news: { readonly state: InstanceState | null; readonly facts: MemberFacts | null },
  deadlineMs?: number,
): Promise<HeartbeatResult> {
  const answer = await call(
    query,
    'holdfast.member_heartbeat($1, $2, $3, $4, $5, $6)',
    [member.instance, member.incarnation, String(member.token), ttlMs, news.state, news.facts],
    deadlineMs,
  );
  if (answer.outcome === 'fenced') return answer as unknown as HeartbeatResult;
  const expired = answer.expired as { instance: string; token: string }[];
  return {
    ...(answer as unknown as Extract<HeartbeatResult, { outcome: 'renewed' }>),
    expired: expired.map(({ instance, token }) => ({ instance, token: BigInt(token) })),
  };
}

/** True if this call did it; false when a late heartbeat, another witness or a leave came first. */
export async function declareLost(
  query: Query,
  witness: Membership,
  lost: { readonly instance: string; readonly token: bigint },
): Promise<boolean> {
  const [row] = await query<{ done: boolean }>(
    'select holdfast.member_declare_lost($1, $2, $3, $4) as done',
    [witness.instance, String(witness.token), lost.instance, String(lost.token)],
  );
  return row?.done ?? false;
}

/** Gives the name back at once. False when the membership had ended already. */
export async function leave(query: Query, member: Membership): Promise<boolean> {
  const [row] = await query<{ done: boolean }>('select holdfast.member_leave($1, $2, $3) as done', [
    member.instance,
    member.incarnation,
    String(member.token),
  ]);
  return row?.done ?? false;
}

async function call(
  query: Query,
  expression: string,
  values: readonly unknown[],
  deadlineMs?: number,
): Promise<Record<string, unknown>> {
  const [row] = await query<{ answer: Record<string, unknown> }>(
    `select ${expression} as answer`,
    values,
    deadlineMs === undefined ? {} : { deadlineMs },
  );
  return row?.answer ?? {};
}

/** A run as the agent's request describes it, checked: a request that is not from our agent gets nowhere. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { RunFacts } from './event-run.ts';

export class BadRequest extends Error {}

export interface RunHeaders {
  readonly facts: Omit<RunFacts, 'payload'>;
  readonly leaseMs: number;
}

/** In constant time: how much of a guess was right must not be measurable. */
export function carriesSecret(headers: IncomingHttpHeaders, secret: string): boolean {
  const given = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1] ?? '';
  return timingSafeEqual(digest(given), digest(secret));
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Throws BadRequest that names the header. */
export function readHeaders(headers: IncomingHttpHeaders): RunHeaders {
  const text = (name: string, pattern: RegExp): string => {
    const value = headers[name];
    if (typeof value === 'string' && pattern.test(value)) return value;
    throw new BadRequest(`The header ${name} is missing or wrong.`);
  };
  const number = (name: string): number => Number(text(name, /^\d{1,15}(\.\d+)?$/));
  const due = new Date(text('holdfast-due', /^\d{4,}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/));
  if (Number.isNaN(due.getTime())) throw new BadRequest('The header holdfast-due is no moment.');
  return {
    facts: {
      event: text('holdfast-event', /./),
      due,
      attempt: number('holdfast-attempt'),
      token: BigInt(text('holdfast-token', /^\d{1,19}$/)),
      cause: text('holdfast-cause', /^(schedule|manual)$/) as RunFacts['cause'],
      idempotencyKey: text('idempotency-key', /./),
      appointment:
        headers['holdfast-appointment'] === undefined
          ? undefined
          : (text('holdfast-appointment', /^(appointed|dismissed)$/) as RunFacts['appointment']),
      timeoutMs: number('holdfast-timeout-ms'),
    },
    leaseMs: number('holdfast-lease-ms'),
  };
}

/** A body as it came over the wire; nothing at all is null. */
export function payloadOf(body: string): unknown {
  if (body.trim() === '') return null;
  try {
    return JSON.parse(body);
  } catch {
    throw new BadRequest('The payload is no JSON.');
  }
}

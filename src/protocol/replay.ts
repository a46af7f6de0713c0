/**
 * May a request that got no answer from one instance be sent to another? The answer depends on two things: how far
 * the request came, and whether doing it twice could do harm. A request that never left is safe whatever it is. One
 * that was sent may have been carried out, and nobody can find out; so only methods that are defined to be repeatable
 * (RFC 9110, section 9.2.2) go again, and only while their body is still at hand. Once a response has begun, part of
 * it may have reached the user: two halves of different responses must never be joined.
 */
export type RequestPhase =
  /** No connection to the instance was made: refused, unreachable, or too slow. Nothing was sent. */
  | 'notConnected'
  /** Sent on a connection that had been used before, and that closed without a byte. */
  | 'pooledClosed'
  /** Sent on a new connection; no response yet. */
  | 'sent'
  /** The response has begun. */
  | 'responding'
  /** The connection was upgraded (WebSocket); the client knows how to come back. */
  | 'tunnel';

type Rule = 'always' | 'ifRepeatable' | 'never';

const rules: Record<RequestPhase, Rule> = {
  notConnected: 'always',
  pooledClosed: 'ifRepeatable',
  sent: 'ifRepeatable',
  responding: 'never',
  tunnel: 'never',
};

const idempotentMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/** Methods are case-sensitive: `get` is not GET, and nothing is known about it. */
export const isIdempotent = (method: string): boolean => idempotentMethods.has(method);

export interface RequestFate {
  readonly phase: RequestPhase;
  /** Its method is idempotent, or whoever runs the application said that this request is. */
  readonly repeatable: boolean;
  /** All body bytes that were taken from the client so far are still in memory; true for a request without body. */
  readonly bodyHeld: boolean;
}

export function mayReplay({ phase, repeatable, bodyHeld }: RequestFate): boolean {
  switch (rules[phase]) {
    case 'always':
      return true;
    case 'ifRepeatable':
      return repeatable && bodyHeld;
    case 'never':
      return false;
  }
}

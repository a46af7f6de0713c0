/**
 * What a store's `get(id)` and `set(id, session)` are not told: for which request. Two requests of one session on
 * one instance start from different versions, so what was read is remembered per request: by the session object
 * where the framework lets us see it made (express-session), else by the request's asynchronous context.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Snapshot } from './snapshot.ts';

export interface RequestContext {
  /** The signed version that the user's browser sent. */
  readonly versionCookie: string | undefined;
  /** What this request read last, by id. */
  readonly snapshots: Map<string, Snapshot>;
  /** The response's headers are made, or there is none: what is saved now, no cookie can tell. */
  headersMade: boolean;
}

export const requestContext = new AsyncLocalStorage<RequestContext>();

export function newRequestContext(versionCookie?: string): RequestContext {
  return { versionCookie, snapshots: new Map(), headersMade: false };
}

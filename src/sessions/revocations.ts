/**
 * Whether this instance would hear of a revocation, without which no copy may be served. Yes, while the listener is
 * connected, was answered a moment ago, and no time has passed that its clock did not count.
 */
import type { Arbiter } from '../database/arbiter.ts';
import type { Listener } from '../database/listener.ts';
import type { Clock } from '../support/clock.ts';
import type { SessionCache } from './session-cache.ts';
import { sessionChannel } from './session-statements.ts';

const listenerFreshMs = 2_000;
const clockJumpMs = 1_000;

export interface Revocations {
  areHeard(): boolean;
  lastHeardMs(): number;
  close(): Promise<void>;
}

export function listenForRevocations(arbiter: Arbiter, clock: Clock, cache: SessionCache): Revocations {
  let listening = false;
  let clockOffsetMs = clock.wallMs() - clock.monotonicMs();
  const listener: Listener = arbiter.listen([sessionChannel], {
    onNotify: (_channel, idHash) => cache.drop(idHash),
    onConnect: () => {
      cache.clear(); // what was revoked in between is unknown
      listening = true;
    },
    onDisconnect: () => {
      listening = false;
    },
  });

  return {
    areHeard() {
      const nowMs = clock.monotonicMs();
      // The monotonic clock stands still while the machine is suspended; the wall clock then jumps ahead of it.
      const offsetMs = clock.wallMs() - nowMs;
      const jumped = Math.abs(offsetMs - clockOffsetMs) > clockJumpMs;
      clockOffsetMs = offsetMs;
      if (jumped) cache.clear();
      return listening && !jumped && nowMs - listener.lastHeardMs() < listenerFreshMs;
    },
    lastHeardMs: () => listener.lastHeardMs(),
    close: () => listener.close(),
  };
}

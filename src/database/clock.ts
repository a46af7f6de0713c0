import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../support/clock.ts';

/** The clocks of this machine. The only place that reads them; everything else is handed a `Clock`. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: (ms, signal) =>
    delay(ms, undefined, signal ? { signal } : {}).then(
      () => undefined,
      () => undefined, // aborted: the caller looks at its signal
    ),
};

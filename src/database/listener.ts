/**
 * A connection that waits for notifications. NOTIFY is only a hint that saves waiting; but a *cache* that is told
 * of revocations must know that it would be told, so the listener asks the server something each second (more
 * rarely, where notifications are nothing but hints) and remembers when it last had an answer. Silence longer than
 * a moment means: do not trust the cache.
 */
import type pg from 'pg';
import { systemClock } from './clock.ts';
import { destroySocket } from './primary.ts';

export interface ListenHandlers {
  onNotify(channel: string, payload: string): void;
  /** After every connection, the first included: what was notified in between is unknown. */
  onConnect?(): void;
  onDisconnect?(): void;
}

export interface Listener {
  /** Monotonic ms just before the last statement was sent that the server answered; -Infinity before the first. */
  lastHeardMs(): number;
  close(): Promise<void>;
}

const answerWithinMs = 2_000;
const longestPauseMs = 2_000;

export function startListener(options: {
  channels: readonly string[];
  handlers: ListenHandlers;
  connect(): Promise<pg.Client>;
  whyNotPrimary(client: pg.Client): Promise<string | undefined>;
  readonly probeMs: number;
}): Listener {
  const { channels, handlers, probeMs } = options;
  const stop = new AbortController();
  let lastHeardMs = Number.NEGATIVE_INFINITY;
  let client: pg.Client | undefined;

  /** One exchange with the server, within its deadline. */
  async function within<T>(asked: pg.Client, exchange: () => Promise<T>): Promise<T> {
    const sentMs = systemClock.monotonicMs();
    const timer = setTimeout(() => destroySocket(asked), answerWithinMs);
    try {
      const result = await exchange();
      lastHeardMs = sentMs;
      return result;
    } finally {
      clearTimeout(timer);
    }
  }

  async function listenUntilLost(): Promise<void> {
    const opened = await options.connect();
    client = opened;
    const lost = new AbortController();
    opened.on('error', () => lost.abort());
    opened.on('end', () => lost.abort());
    opened.on('notification', (message) => handlers.onNotify(message.channel, message.payload ?? ''));
    try {
      await within(opened, async () => {
        await opened.connect();
        const why = await options.whyNotPrimary(opened);
        if (why) throw new Error(why);
        for (const channel of channels) await opened.query(`listen ${channel}`);
      });
      handlers.onConnect?.();
      while (!lost.signal.aborted && !stop.signal.aborted) {
        await systemClock.sleep(probeMs, AbortSignal.any([lost.signal, stop.signal]));
        if (!lost.signal.aborted && !stop.signal.aborted)
          await within(opened, () => opened.query('select 1'));
      }
    } finally {
      client = undefined;
      destroySocket(opened);
      handlers.onDisconnect?.();
    }
  }

  async function run(): Promise<void> {
    let pauseMs = 50;
    while (!stop.signal.aborted) {
      const heardBefore = lastHeardMs;
      await listenUntilLost().catch(() => undefined); // silence is visible in lastHeardMs
      pauseMs = lastHeardMs > heardBefore ? 50 : Math.min(pauseMs * 2, longestPauseMs);
      await systemClock.sleep(pauseMs, stop.signal);
    }
  }

  const running = run();
  return {
    lastHeardMs: () => lastHeardMs,
    async close() {
      stop.abort();
      if (client) destroySocket(client);
      await running;
    },
  };
}

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** Awaits a condition; fails with its name when it takes too long. */
export async function until(
  what: string | (() => string),
  condition: () => boolean | Promise<boolean>,
  limitMs = 8_000,
): Promise<void> {
  const startedMs = performance.now();
  while (!(await condition())) {
    if (performance.now() - startedMs > limitMs) {
      assert.fail(`${typeof what === 'string' ? what : what()}: not within ${limitMs} ms`);
    }
    await sleep(10);
  }
}

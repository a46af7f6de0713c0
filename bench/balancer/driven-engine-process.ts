/** The process behind driven-engine.ts: embedded engines that do as they are told. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Engine } from '../../src/balancer/engine.ts';
import { startEmbeddedEngine } from '../../src/balancer/index.ts';
import { type Log, silentLog } from '../../src/support/log.ts';
import type { Questions } from './driven-engine.ts';

const engines: Engine[] = [];
const complaints: Record<string, number> = {};

const complain = (_fields: object, message: string): void => {
  complaints[message] = (complaints[message] ?? 0) + 1;
};
const log: Log = { ...silentLog, warn: complain, error: complain, child: () => log };

const engineOf = (id: number): Engine => {
  const engine = engines[id];
  if (engine === undefined) throw new RangeError(`there is no engine ${id}`);
  return engine;
};

const answers: Questions = {
  async start({ options, table }) {
    const engine = await startEmbeddedEngine({ ...options, log });
    const id = engines.push(engine) - 1;
    engine.apply(table);
    return { id, port: engine.status().listen.port };
  },
  apply: ({ id, table }) => engineOf(id).apply(table),
  status: ({ id }) => engineOf(id).status(),
  async memory() {
    // What one collection finds to be garbage may be released by the next only.
    for (let round = 0; round < 3; round++) {
      globalThis.gc?.();
      await delay(20);
    }
    return process.memoryUsage();
  },
  complaints: () => complaints,
  close: async () => void (await Promise.all(engines.map((engine) => engine.close({ graceMs: 500 })))),
};

type Question = { id: number; question: keyof Questions; argument: never };

process.on('message', async ({ id, question, argument }: Question) => {
  try {
    process.send?.({ id, answer: await answers[question](argument) });
  } catch (error) {
    process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
process.once('disconnect', () => process.exit());

import { HoldfastError } from '../../support/errors.ts';
import type { Log } from '../../support/log.ts';
import type { IdempotencyAnswer, IdempotencyLedger } from '../idempotency.ts';
import { resolveOptions } from '../options.ts';
import type { ListeningSocket } from './listener.ts';
import { openStation, type Station } from './station.ts';
import type { FromWorker, LedgerQuestion, PlainOptions, ToWorker } from './worker-messages.ts';

/**
 * One of several processes that share the port of a balancer: a station, and a line to the balancer that tells it how
 * the instances are. When that line breaks, nobody would tell it any more, so it ends.
 */
const reportEveryMs = 250;

let station: Station | undefined;
let questions = 0;
const asked = new Map<number, PromiseWithResolvers<IdempotencyAnswer | undefined>>();

const tell = (message: FromWorker, socket?: ListeningSocket): void => {
  process.send?.(message, socket as never);
};

const ask = (question: LedgerQuestion): Promise<IdempotencyAnswer | undefined> => {
  const id = ++questions;
  const answer = Promise.withResolvers<IdempotencyAnswer | undefined>();
  asked.set(id, answer);
  tell({ kind: 'ask', id, question });
  return answer.promise;
};

/** The balancer's own ledger, over the line. */
const remoteLedger: IdempotencyLedger = {
  claim: async (request) => {
    const answer = await ask({ method: 'claim', values: [request] });
    if (answer === undefined) throw new Error('a claim was answered with nothing');
    return answer;
  },
  finish: async (...values) => void (await ask({ method: 'finish', values })),
  release: async (...values) => void (await ask({ method: 'release', values })),
  forget: async (...values) => void (await ask({ method: 'forget', values })),
};

function remoteLog(bindings: object): Log {
  const say = (level: 'debug' | 'info' | 'warn' | 'error') => (fields: object, message: string) =>
    tell({ kind: 'log', level, fields: { ...bindings, ...fields }, message });
  return {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: (more) => remoteLog({ ...bindings, ...more }),
  };
}

async function start(options: PlainOptions, ticketKeys: Buffer | undefined, inherited?: ListeningSocket) {
  const { hasLedger, ...plain } = options;
  const settings = resolveOptions({
    ...plain,
    log: remoteLog({ worker: process.pid }),
    ...(hasLedger ? { idempotency: remoteLedger } : {}),
  });
  const suspect = (instance: string) => tell({ kind: 'suspect', instance });
  try {
    station = await openStation({ settings, suspect, sharesPort: true, inherited, ticketKeys });
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    tell({ kind: 'refused', code: error.code, message: error.message, remedy: error.remedy });
    return;
  }
  // One that was inherited is with the balancer already.
  tell({ kind: 'listening', address: station.address }, inherited === undefined ? station.socket : undefined);
  setInterval(() => station && tell({ kind: 'traffic', traffic: station.traffic() }), reportEveryMs);
}

async function stop(graceMs: number): Promise<void> {
  await station?.close(graceMs);
  if (station)
    process.send?.({ kind: 'traffic', traffic: station.traffic() } satisfies FromWorker, () =>
      process.exit(0),
    );
  else process.exit(0);
}

process.on('message', (message: ToWorker, socket: ListeningSocket | undefined) => {
  switch (message.kind) {
    case 'start':
      void start(message.options, message.ticketKeys && Buffer.from(message.ticketKeys), socket);
      break;
    case 'see':
      station?.see(message.views);
      break;
    case 'stop':
      void stop(message.graceMs);
      break;
    case 'answer':
      asked.get(message.id)?.resolve(message.answer);
      asked.delete(message.id);
      break;
    case 'failed':
      asked.get(message.id)?.reject(new Error(message.reason));
      asked.delete(message.id);
      break;
  }
});
process.on('disconnect', () => process.exit(0));
// Signals for the whole group are for the balancer, which stops its workers in order.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

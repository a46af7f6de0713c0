import type { Address, EngineOptions } from '../engine.ts';
import type { IdempotencyAnswer, IdempotencyLedger } from '../idempotency.ts';
import type { InstanceView } from './backend.ts';
import type { StationTraffic } from './station.ts';

/** What a balancer and its worker processes say to each other. All of it is plain data; sockets travel beside it. */
export type ToWorker =
  /** With a listening socket beside it where an earlier worker left one. */
  | { readonly kind: 'start'; readonly options: PlainOptions; readonly ticketKeys: Buffer | undefined }
  | { readonly kind: 'see'; readonly views: readonly InstanceView[] }
  | { readonly kind: 'stop'; readonly graceMs: number }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: IdempotencyAnswer | undefined }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string };

export type FromWorker =
  /** With its listening socket beside it, if it is a new one. */
  | { readonly kind: 'listening'; readonly address: Address }
  | {
      readonly kind: 'refused';
      readonly code: string;
      readonly message: string;
      readonly remedy: string | undefined;
    }
  | { readonly kind: 'traffic'; readonly traffic: StationTraffic }
  | { readonly kind: 'suspect'; readonly instance: string }
  | { readonly kind: 'ask'; readonly id: number; readonly question: LedgerQuestion }
  | {
      readonly kind: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly fields: object;
      readonly message: string;
    };

/** The options without what cannot travel: workers bring their own clock and chance, and ask for the rest. */
export type PlainOptions = Omit<
  EngineOptions,
  'clock' | 'random' | 'log' | 'onInstanceHealth' | 'idempotency' | 'sockets'
> & {
  readonly hasLedger: boolean;
};

type LedgerMethod = keyof IdempotencyLedger;

/** A call of the ledger, which only the balancer's own process has. */
export type LedgerQuestion = {
  readonly [Method in LedgerMethod]: {
    readonly method: Method;
    readonly values: Parameters<IdempotencyLedger[Method]>;
  };
}[LedgerMethod];

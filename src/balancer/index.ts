/** `holdfast/balancer`: carry traffic to the instances of a routing table, in your own process. */
export { type EmbeddedEngine, startEmbeddedEngine } from './embedded/engine.ts';
export {
  type ClientTraffic,
  type Engine,
  type EngineOptions,
  type EngineStatus,
  type HealthOptions,
  type InstanceTraffic,
  type LatencyHistogram,
  type Limits,
  latencyBucketsMs,
  type RouteOptions,
  type StickyOptions,
  type TlsOptions,
} from './engine.ts';
export { startHaproxyEngine } from './haproxy/engine.ts';
export type {
  IdempotencyAnswer,
  IdempotencyLedger,
  IdempotentRequest,
  StoredResponse,
} from './idempotency.ts';
export { createKillLedger, describeLoss, type Loss } from './kill-ledger.ts';
export { prometheusContentType, prometheusText } from './metrics.ts';
export { defaultHealth, defaultLimits } from './options.ts';
export { type TableFile, tableFile } from './table-file.ts';

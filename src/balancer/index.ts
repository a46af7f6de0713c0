/** `holdfast/balancer`: carry traffic to the instances of a routing table, in your own process. */
export { startEmbeddedEngine } from './embedded/engine.ts';
export type {
  Engine,
  EngineOptions,
  EngineStatus,
  HealthOptions,
  InstanceTraffic,
  Limits,
} from './engine.ts';
export { defaultHealth, defaultLimits } from './options.ts';
export { type TableFile, tableFile } from './table-file.ts';

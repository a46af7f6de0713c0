/** `holdfast/balancer`: carry traffic to the instances of a routing table, in your own process. */
export { startEmbeddedEngine } from './embedded/engine.ts';
export {
  defaultHealth,
  defaultLimits,
  type Engine,
  type EngineOptions,
  type EngineStatus,
  type HealthOptions,
  type InstanceTraffic,
  type Limits,
} from './engine.ts';
export { type TableFile, tableFile } from './table-file.ts';

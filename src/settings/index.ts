/** The configuration of a cluster: read, checked, stored and explained. */
export type {
  AlarmSettings,
  AppSettings,
  BalancerSettings,
  BalancerTlsSettings,
  CalendarSettings,
  Configuration,
  DatabaseSettings,
  DstRule,
  EventHook,
  EventMissed,
  EventPlace,
  EventRun,
  EventSchedule,
  EventSettings,
  FenceSettings,
  FileSettings,
  HealthSettings,
  InstanceSettings,
  LeaseSettings,
  LedgerSettings,
  MendixSettings,
  SessionSettings,
  StopSettings,
  TimeOfDay,
} from './configuration.ts';
export {
  type ConfigurationDocument,
  canonicalJson,
  configurationFromDocument,
  digestOf,
  type JsonValue,
} from './document.ts';
export { type InitialConfiguration, writeInitialConfiguration } from './init.ts';
export { type ImportedConfiguration, writeConfigurationFromM2ee } from './init-m2ee.ts';
export { type Findings, inspectFolder } from './inspect.ts';
export {
  configurationFileName,
  findConfiguration,
  type LoadedConfiguration,
  loadConfiguration,
  parseConfiguration,
} from './load.ts';
export { nearestName } from './nearest-name.ts';
export { currentRevision, type Revision, storeRevision } from './revisions.ts';
export { redacted, resolveSecret, type SecretPlaces } from './secrets.ts';
export type { Address, SecretReference } from './values.ts';

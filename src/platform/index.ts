/** What the floors above use of the platforms. */
export { type AgentRecord, proveDeaths, removeRecord, writeRecord } from './agent-record.ts';
export { type CommandOptions, type CommandResult, type CommandRun, startCommand } from './command.ts';
export { holdGroup } from './dead-mans-handle.ts';
export { externalPlatform } from './external.ts';
export { findFreePort } from './free-port.ts';
export { type CheckResult, checkHealth } from './health-check.ts';
export { type Feedback, type LogLevel, logLevels } from './mendix/admin-actions.ts';
export { AdminClient } from './mendix/admin-client.ts';
export { type MendixPlatformOptions, mendixPlatform } from './mendix/mendix.ts';
export { parentDeathSignalPrefix } from './parent-death-signal.ts';
export type {
  Address,
  Duties,
  Duty,
  ExitReason,
  OutputLine,
  Platform,
  RunningInstance,
  Tenure,
} from './platform.ts';
export { processPlatform } from './process.ts';
export { isAlive, type ProcessIdentity, processIdentity } from './process-identity.ts';

/**
 * `holdfast/testing`: the test kit. A throwaway PostgreSQL, the conformance suites of engines and session stores, a
 * stand-in for a Mendix runtime, the checker of ledgers, and the simulation (which needs @electric-sql/pglite).
 */
export { balancerConformance } from './balancer-suite.ts';
export {
  type CheckedEvent,
  checkLedger,
  type JournalEntry,
  type LedgerCheck,
  type LedgerOccurrence,
  type LedgerRun,
  type LedgerVerdict,
} from './ledger-checker.ts';
export { installStandIn, type StandInInstallation } from './mendix-runtime/install.ts';
export { startTestPostgres, type TestPostgres } from './postgres.ts';
export {
  type CheckedStore,
  type SessionStoreCheck,
  type SessionStoreSubject,
  sessionStoreChecks,
} from './session-store-suite.ts';
export { openSimulatedDatabase, type SimulatedDatabase } from './simulation/database.ts';
export { type MonthOptions, simulateMonth } from './simulation/month.ts';
export { simulate } from './simulation/simulate.ts';
export type { RunResult, SimulationOptions } from './simulation/world.ts';

/** `holdfast/testing`: the test kit. A throwaway PostgreSQL, and the conformance suites of engines and session stores. */
export { balancerConformance } from './balancer-suite.ts';
export { startTestPostgres, type TestPostgres } from './postgres.ts';
export {
  type CheckedStore,
  type SessionStoreCheck,
  type SessionStoreSubject,
  sessionStoreChecks,
} from './session-store-suite.ts';

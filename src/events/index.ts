/** `holdfast/events`: scheduled events, as an application sees them. */
export type { EventHandler } from './application/event-handlers.ts';
export type { EventRun } from './application/event-run.ts';
export type { EventsOptions } from './application/events-options.ts';
export type { ExpressEvents } from './application/express-events.ts';
export type { FastifyEventsPlugin } from './application/fastify-events.ts';
export type { GateOutcome, GateRefusal, GateRun } from './application/gate.ts';
export { type Events, openEvents } from './application/open-events.ts';
export { type AbortCause, RunAbortedError, StaleRunError } from './application/run-errors.ts';
export type { TransactionClient } from './application/run-transaction.ts';

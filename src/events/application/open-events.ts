/**
 * Scheduled events in the application: its handlers, mounted for the agent to call.
 *
 *   const events = openEvents();
 *   events.onEvent('nightly-invoices', (run) => run.transaction(async (client) => { … }));
 *   app.use(events.express());
 */
import { type Arbiter, openArbiter } from '../../database/arbiter.ts';
import { systemClock } from '../../database/clock.ts';
import { poolSizes } from '../../database/pools.ts';
import { HoldfastError } from '../../support/errors.ts';
import { silentLog } from '../../support/log.ts';
import { agentClient } from './agent-client.ts';
import { type EventHandler, EventHandlers } from './event-handlers.ts';
import { type EventsOptions, resolveOptions } from './events-options.ts';
import { type ExpressEvents, expressEvents } from './express-events.ts';
import { type FastifyEventsPlugin, fastifyEvents } from './fastify-events.ts';
import { askGate, type GateOutcome, type GateRefusal, type GateRun, throughGate } from './gate.ts';

export interface Events {
  /** The handler of an event, or of several: its name is the last part of the path that the configuration posts to. */
  onEvent(name: string, handler: EventHandler): void;
  /** For `app.use(…)`, before or after body parsers. */
  express(): ExpressEvents;
  /** For `app.register(…)`. */
  fastify(): FastifyEventsPlugin;
  /** For `run: gate`: may this instance run it now? */
  ask(name: string): Promise<GateRefusal | GateRun>;
  /** Asks, runs the handler where the answer is yes, and says how it ended. */
  gate(name: string, handler: EventHandler): Promise<GateOutcome>;
  /** Takes no more calls, and waits for those under way. */
  close(): Promise<void>;
}

/** Connects to nothing yet. Without an agent it throws nothing: handlers are registered, and no event comes. */
export function openEvents(options: EventsOptions = {}): Events {
  const { agent: address, database, basePath } = resolveOptions(options, process.env);
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const agent = address && agentClient(address);
  let opened: Arbiter | undefined;

  function arbiter(): Arbiter {
    if (!database) {
      throw new HoldfastError('CONFIGURATION_MISSING', 'run.transaction was told of no database.', {
        remedy: 'Run the application under `holdfast agent`, or set HOLDFAST_DATABASE, or pass { database }.',
      });
    }
    if (typeof database !== 'string') return database;
    opened ??= openArbiter({
      url: database,
      max: poolSizes.events,
      applicationName: `holdfast events${process.env.HOLDFAST_INSTANCE ? ` ${process.env.HOLDFAST_INSTANCE}` : ''}`,
      connectTimeoutMs: 1_000,
    });
    return opened;
  }

  const surroundings = { agent, clock, log, arbiter };
  const handlers = new EventHandlers({ ...surroundings, secret: address?.secret });
  return {
    onEvent: (name, handler) => handlers.add(name, handler),
    express: () => expressEvents(handlers, basePath),
    fastify: () => fastifyEvents(handlers, basePath),
    ask: (name) => askGate(name, surroundings),
    gate: (name, handler) => throughGate(name, handler, surroundings),
    async close() {
      await handlers.close();
      await opened?.close();
    },
  };
}

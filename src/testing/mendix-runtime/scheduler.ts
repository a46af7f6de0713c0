/**
 * The runtime's own scheduler. Up to 9.11 each runtime fires by itself, as ScheduledEventExecution says: NONE, ALL, or
 * SPECIFIED with the names in MyScheduledEvents; two runtimes that may, both do. From 9.12 the due moments are tasks in
 * the database and one runtime takes each. Every execution is written down where users find it.
 */
import type { ApplicationDatabase } from './database.ts';
import { gated } from './gate.ts';
import { type Behaviour, isAtLeast, type Model } from './model.ts';

export interface SchedulerOptions {
  readonly model: Model;
  readonly behaviour: Behaviour;
  readonly configuration: Readonly<Record<string, unknown>>;
  readonly database: ApplicationDatabase;
  readonly xasid: string;
  onError(error: Error): void;
}

/** Starts the timers; returns what stops them. */
export function startScheduler(options: SchedulerOptions): () => void {
  const timers = new Set<NodeJS.Timeout>();
  const { model, behaviour, database, xasid } = options;
  const byQueue = isAtLeast(model.RuntimeVersion, 9, 12);
  const fire = async (name: string, due: Date): Promise<void> => {
    if (byQueue && !(await database.takeTask(name, due))) return;
    const work = (moment: Date): Promise<void> => database.recordEvent({ name, due: moment, xasid });
    const question = behaviour.asks?.[name];
    await (question === undefined ? work(due) : gated(question, work));
  };
  const arm = (name: string, everyMs: number): void => {
    const dueMs = (Math.floor(Date.now() / everyMs) + 1) * everyMs;
    const timer = setTimeout(() => {
      timers.delete(timer);
      fire(name, new Date(dueMs)).catch(options.onError);
      arm(name, everyMs);
    }, dueMs - Date.now());
    timers.add(timer);
  };
  for (const name of executedHere(model, options.configuration))
    arm(name, behaviour.everyMs?.[name] ?? 60_000);
  return () => {
    for (const timer of timers) clearTimeout(timer);
  };
}

function executedHere(model: Model, configuration: Readonly<Record<string, unknown>>): string[] {
  const names = model.ScheduledEvents.map(({ Name }) => Name);
  switch (configuration.ScheduledEventExecution ?? 'NONE') {
    case 'ALL':
      return names;
    case 'SPECIFIED': {
      const mine = String(configuration.MyScheduledEvents ?? '').split(',');
      return names.filter((name) => mine.includes(name));
    }
    default:
      return isAtLeast(model.RuntimeVersion, 9, 12) ? names : [];
  }
}

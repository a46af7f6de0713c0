/** Which executor does the work of which event, and how the application is told of an appointment. */
import type { AppointmentChange } from '../events/appointments.ts';
import type { EventDefinition } from '../events/definition.ts';
import { builtinExecutor } from '../events/execution/builtin.ts';
import { commandExecutor } from '../events/execution/command.ts';
import type { Executor, RunOrder } from '../events/execution/execution.ts';
import type { Gate } from '../events/execution/gate.ts';
import { HandlerWatch, postExecutor } from '../events/execution/post.ts';
import type { EventHook } from '../settings/index.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import type { BuiltinEvent } from './builtin-events.ts';
import type { RecordKeeper } from './record.ts';

export interface ExecutorFacts {
  readonly instance: string;
  readonly address: () => { readonly host: string; readonly port: number } | null;
  /** Resolves when the present process of the instance has ended. */
  readonly instanceDied: () => Promise<void>;
  readonly agentSecret: string;
  /** The folder in which commands run. */
  readonly directory: string;
  /** What the instance's own process has in its environment. */
  readonly environment: () => Record<string, string>;
  readonly record: RecordKeeper;
  readonly gate: Gate;
  readonly stopWorkMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Executors {
  /** What the application says of its handlers goes here. */
  readonly handlers: HandlerWatch;
  executorOf(definition: EventDefinition): Executor;
  tell(
    definition: EventDefinition,
    change: AppointmentChange,
    facts: { readonly token: bigint; readonly limitMs: number; readonly signal: AbortSignal },
  ): Promise<string | undefined>;
}

export function executors(facts: ExecutorFacts, builtin: readonly BuiltinEvent[]): Executors {
  const tasks = new Map(builtin.map(({ settings, task }) => [settings.name, task]));

  const handlers = new HandlerWatch();

  const hookExecutor = (hook: EventHook, appointment?: AppointmentChange): Executor => {
    if (hook.kind === 'post')
      return postExecutor({
        address: facts.address,
        instanceDied: facts.instanceDied,
        secret: facts.agentSecret,
        path: hook.path,
        handlers,
        ...(appointment ? { appointment } : {}),
      });
    return commandExecutor({
      command: hook.command,
      directory: facts.directory,
      environment: () => facts.environment(),
      recordGroup: (pid) => facts.record.commandStarted(pid),
      forgetGroup: (pid) => facts.record.commandEnded(pid),
      stopWorkMs: facts.stopWorkMs,
      log: facts.log,
      ...(appointment ? { appointment } : {}),
    });
  };

  return {
    handlers,
    executorOf({ name, settings: { run } }) {
      const task = tasks.get(name);
      if (task) return builtinExecutor(task);
      if (!run) throw new Error(`nothing is to be run for ${name}`);
      return run.kind === 'gate' ? (order) => facts.gate.open(order) : hookExecutor(run);
    },

    async tell({ name, settings }, change, { token, limitMs, signal }) {
      const hook = settings[change];
      if (!hook) return undefined;
      const order: RunOrder = {
        event: name,
        place: '',
        occurrence: '',
        dueMs: facts.clock.wallMs(),
        attempt: 1,
        token,
        cause: 'schedule',
        payload: settings.payload ?? null,
        timeoutMs: limitMs,
      };
      const work = hookExecutor(hook, change)(order, { remainingMs: () => limitMs });
      const done = new AbortController();
      const end = AbortSignal.any([done.signal, signal]);
      void facts.clock
        .sleep(limitMs, end)
        .then(() =>
          work.abort(signal.aborted ? 'the appointment is over' : `no answer within ${limitMs} ms`),
        );
      const { outcome, reason } = await work.finished;
      done.abort();
      // A dead application needs no dismissal, and cannot be appointed.
      if (outcome === 'succeeded' || (outcome === 'lost' && change === 'dismissed')) return undefined;
      return reason ?? outcome;
    },
  };
}

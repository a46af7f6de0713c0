/**
 * The stand-in's life cycle: created, starting, running, stopping. What it is told lives in memory and is gone with the
 * process, so whoever starts it must send the whole configuration each time. `start` refuses, with the documented
 * result codes, whatever a runtime refuses.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../support/errors.ts';
import { ApplicationDatabase } from './database.ts';
import { RuntimeLog } from './logging.ts';
import { isAtLeast, type Model, readBehaviour } from './model.ts';
import { startScheduler } from './scheduler.ts';
import { Sessions } from './sessions.ts';

export type RuntimeStatus = 'feut' | 'created' | 'starting' | 'running' | 'stopping' | 'stopped';

export interface Answer {
  readonly result: number;
  readonly feedback?: unknown;
  readonly message?: string;
  readonly cause?: string;
}

export const ok = (feedback: unknown = {}): Answer => ({ result: 0, feedback });
export const refused = (result: number, message: string, cause?: string, feedback?: unknown): Answer => ({
  result,
  message,
  ...(cause === undefined ? {} : { cause }),
  ...(feedback === undefined ? {} : { feedback }),
});

const forcedResults: Readonly<Record<number, string>> = {
  5: 'There are administrators with a password that is too simple.',
  10: 'The license is invalid.',
  11: 'The security level of the project is not set to production.',
  12: 'The after-startup action failed.',
  13: 'The license does not allow mobile use.',
};

export class StandInRuntime {
  readonly appBase: string;
  readonly model: Model;
  readonly xasid: string;
  readonly log = new RuntimeLog();
  readonly requests = new Map<string, { value: number; last_request_timestamp: number }>();
  status: RuntimeStatus;
  configuration: Readonly<Record<string, unknown>> = {};
  mimeTypes: Readonly<Record<string, unknown>> = {};
  sessions: Sessions | undefined;
  #database: ApplicationDatabase | undefined;
  #stopScheduler: () => void = () => undefined;

  constructor(appBase: string, model: Model, xasid: string) {
    this.appBase = appBase;
    this.model = model;
    this.xasid = xasid;
    this.status = isAtLeast(model.RuntimeVersion, 7) ? 'created' : 'feut';
  }

  configure(configuration: Readonly<Record<string, unknown>>): Answer {
    const wrong = wrongSetting(configuration);
    if (wrong) return refused(1, 'The configuration contains an invalid setting.', wrong);
    this.configuration = { ...this.configuration, ...configuration };
    return ok();
  }

  async start(): Promise<Answer> {
    if (this.status !== 'created' && this.status !== 'feut')
      return refused(6, `Cannot start a runtime that is ${this.status}.`);
    const before = this.status;
    this.status = 'starting';
    const answer = await this.#start().catch((error: Error) =>
      refused(1, 'Starting the runtime failed.', error.message),
    );
    this.status = answer.result === 0 ? 'running' : before;
    if (answer.result === 0)
      this.log.publish(
        'INFO',
        'Core',
        'Mendix Runtime successfully started, the application is now available.',
      );
    else this.log.publish('CRITICAL', 'M2EE', `${answer.message} ${answer.cause ?? ''}`.trim());
    return answer;
  }

  async ddlCommands(): Promise<string[]> {
    const { ddl = [] } = readBehaviour(this.appBase);
    return (await this.#openDatabase()).ddlCommands(this.model.ModelVersion, ddl);
  }

  async executeDdl(): Promise<Answer> {
    const { ddlPauseMs = 0 } = readBehaviour(this.appBase);
    try {
      await (await this.#openDatabase()).execute(await this.ddlCommands(), ddlPauseMs);
      return ok();
    } catch (error) {
      return refused(1, 'Executing the DDL commands failed.', (error as Error).message);
    }
  }

  /** The health microflow, if the model has one. */
  async health(): Promise<{ health: string; diagnosis: string }> {
    const { health } = readBehaviour(this.appBase);
    if (health === undefined) return { health: 'unknown', diagnosis: 'No health check microflow configured' };
    if (health === 'hangs') await sleep(3_600_000, undefined, { ref: false });
    return typeof health === 'object'
      ? { health: 'sick', diagnosis: health.sick }
      : { health: 'healthy', diagnosis: '' };
  }

  async stop(): Promise<void> {
    this.status = 'stopping';
    this.log.publish('INFO', 'Core', 'Mendix Runtime is shutting down now...');
    this.#stopScheduler();
    await this.#database?.close();
    this.status = 'stopped';
    this.log.publish('INFO', 'Core', 'Mendix Runtime is now shut down.');
    await this.log.close();
  }

  async #start(): Promise<Answer> {
    const behaviour = readBehaviour(this.appBase);
    await sleep(behaviour.startMs ?? 0);
    const missing = this.#whatIsMissing();
    if (missing) return missing;
    const forced = behaviour.startResult;
    if (forced !== undefined && forced !== 12)
      return refused(
        forced,
        forcedResults[forced] ?? '',
        undefined,
        forced === 5 ? { users: ['MxAdmin'] } : undefined,
      );
    const database = await this.#openDatabase();
    const structure = await database.structure(this.model.ModelVersion);
    if (structure === 'none') return refused(2, 'There is no existing database.');
    if (structure === 'out of sync')
      return refused(3, 'The database structure is not in sync with the model.');
    if (forced === 12) return refused(12, forcedResults[12] ?? '', 'The microflow returned false.');
    const persistent = this.configuration.PersistentSessions ?? isAtLeast(this.model.RuntimeVersion, 7);
    this.sessions = new Sessions(persistent === true ? database : undefined);
    this.#stopScheduler = startScheduler({
      model: this.model,
      behaviour,
      configuration: this.configuration,
      database,
      xasid: this.xasid,
      onError: (error) => this.log.publish('ERROR', 'Core', `A scheduled event failed: ${error.message}`),
    });
    return ok();
  }

  #whatIsMissing(): Answer | undefined {
    const { configuration } = this;
    if (!configuration.DTAPMode) return refused(7, 'The DTAP mode is not set.');
    if (!configuration.BasePath) return refused(8, 'The base path is not set.');
    if (!configuration.RuntimePath) return refused(9, 'The runtime path is not set.');
    const given = (configuration.MicroflowConstants ?? {}) as Record<string, unknown>;
    const constant = this.model.Constants.find(({ Name }) => given[Name] === undefined);
    if (constant) return refused(4, 'Missing constant value', `Constant '${constant.Name}' has no value.`);
    return undefined;
  }

  async #openDatabase(): Promise<ApplicationDatabase> {
    if (String(this.configuration.DatabaseType).toUpperCase() !== 'POSTGRESQL')
      throw new HoldfastError('USAGE', 'The stand-in knows only DatabaseType PostgreSQL.');
    this.#database ??= new ApplicationDatabase(this.configuration);
    return this.#database;
  }
}

/** A setting that the runtime refuses, in words. */
function wrongSetting(configuration: Readonly<Record<string, unknown>>): string | undefined {
  const { ScheduledEventExecution: execution = 'NONE', MyScheduledEvents: mine } = configuration;
  if (!['NONE', 'ALL', 'SPECIFIED'].includes(String(execution)))
    return `ScheduledEventExecution: '${execution}' is not one of NONE, ALL, SPECIFIED`;
  if (mine !== undefined && typeof mine !== 'string')
    return 'MyScheduledEvents: expected a comma separated string';
  const timeout = Number(configuration.SessionTimeout ?? 600_000);
  const keepAlive = Number(configuration.SessionKeepAliveUpdatesInterval ?? timeout / 6);
  if (!(timeout > 0)) return `SessionTimeout: '${configuration.SessionTimeout}' is not a positive number`;
  if (keepAlive > timeout) return 'SessionKeepAliveUpdatesInterval: must not exceed SessionTimeout';
  return undefined;
}

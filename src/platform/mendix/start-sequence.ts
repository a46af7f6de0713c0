/**
 * From a JVM that has just been started to an application that runs, in the documented order: wait for the admin port,
 * logging, mime types, the web server, the configuration, `start`.
 *
 * Where the database does not fit the model, one instance at a time may change it, and looks again before it does; the
 * others ask until it fits. It need not be the leader: while an application is updated, that one may run the older model.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../support/errors.ts';
import type { Log } from '../../support/log.ts';
import type { Duties, Tenure } from '../platform.ts';
import type { LogLevel } from './admin-actions.ts';
import { type AdminClient, AdminUnreachable } from './admin-client.ts';
import { AdminRefusal, startResult } from './admin-refusal.ts';
import type { MendixVersion } from './application.ts';

export interface StartPlan {
  readonly version: MendixVersion;
  readonly runtimePort: number;
  readonly listenAddresses: string;
  readonly jetty: Readonly<Record<string, unknown>>;
  readonly mimeTypes: Readonly<Record<string, string>>;
  readonly subscribers: readonly LogSubscriber[];
  /** What the instance is sent, in the part that it has. */
  settings(part: StartPart): Readonly<Record<string, unknown>>;
}

interface StartPart {
  readonly isLeader: boolean;
  /** It is about to change the structure of the database, for which a runtime must not be a slave. */
  readonly changesDatabase: boolean;
}

export interface LogSubscriber {
  readonly type: string;
  readonly name: string;
  /** Levels of single nodes. */
  readonly loglevel?: Readonly<Record<string, LogLevel>>;
  readonly [option: string]: unknown;
}

export interface StartSituation {
  readonly client: AdminClient;
  readonly duties: Duties | undefined;
  readonly log: Log;
  /** Aborted when the process has ended or shall end. */
  readonly ended: AbortSignal;
  /** What it is at; `isBusy`: not to be cut short. */
  phase(words: string, isBusy?: boolean): void;
  /** This instance has the duty now; undefined: no longer. */
  holds(duty: keyof Duties, tenure: Tenure | undefined): void;
}

const askEveryMs = 250;
const adminPortWithinMs = 60_000;
const lookAgainMs = 500;

/** Resolves when the application runs. Rejects with what a person should read. */
export async function bringUp(plan: StartPlan, situation: StartSituation): Promise<void> {
  const { client, phase } = situation;
  phase('starting: the JVM does not answer on its admin port yet');
  await untilAnswering(situation);
  const { status } = await client.call('runtime_status');
  if (!['feut', 'created', 'starting'].includes(status))
    throw new HoldfastError(
      'RUNTIME_REFUSED',
      `The runtime that answers is ${status} already: it is not the one just started.`,
      {
        remedy: 'Stop the runtime that listens on this admin port.',
      },
    );
  phase('starting: it is being configured');
  await configureLogging(plan, client);
  if (Object.keys(plan.mimeTypes).length > 0) await client.call('add_mime_type', plan.mimeTypes);
  await client.call('update_appcontainer_configuration', {
    runtime_port: plan.runtimePort,
    runtime_listen_addresses: plan.listenAddresses,
    runtime_jetty_options: plan.jetty,
  });
  await startApplication(plan, situation);
}

async function untilAnswering({ client, ended }: StartSituation): Promise<void> {
  const deadlineMs = performance.now() + adminPortWithinMs;
  for (;;) {
    try {
      await client.call('echo', { echo: 'ping' }, { signal: ended });
      return;
    } catch (error) {
      // Silence is what is waited for to end; an answer that is none will stay one.
      const isSilent = error instanceof AdminUnreachable && error.isSilent;
      if (!isSilent || ended.aborted || performance.now() > deadlineMs) throw error;
    }
    await sleep(askEveryMs, undefined, { signal: ended }).catch(() => undefined); // ended: the next question says so
  }
}

async function configureLogging({ version, subscribers }: StartPlan, client: AdminClient): Promise<void> {
  for (const { loglevel: _levels, ...subscriber } of subscribers)
    await client.call('create_log_subscriber', subscriber);
  if (version.isAtLeast(6)) {
    for (const { name, loglevel = {} } of subscribers) {
      const nodes = Object.entries(loglevel).map(([node, level]) => ({ name: node, level }));
      if (nodes.length > 0) await client.call('set_log_level', { subscriber: name, nodes, force: true });
    }
  }
  if (subscribers.length > 0) await client.call('start_logging');
}

async function startApplication(plan: StartPlan, situation: StartSituation): Promise<void> {
  const { client, duties, phase, ended } = situation;
  const isLeader = (await claim('leader', situation)) !== undefined;
  await client.call('update_configuration', plan.settings({ isLeader, changesDatabase: false }));
  phase('starting: the application is being started');
  let refusal = await refusalOfStart(situation);
  while (refusal) {
    // Without a cluster around it nobody knows whether somebody else is changing it.
    if (!duties) throw refusal;
    const tenure = await claim('database', situation);
    if (tenure) {
      await inOwnTurn(tenure, { ...plan, isLeader }, situation);
      await duties.database.release({ isKept: false });
      situation.holds('database', undefined);
      return;
    }
    phase('waits: the database does not fit the model, and another instance is changing it', true);
    await sleep(lookAgainMs, undefined, { signal: ended });
    refusal = await refusalOfStart(situation);
  }
}

/** Nobody else changes the database now. It may have been changed since it was found not to fit. */
async function inOwnTurn(
  tenure: Tenure,
  plan: StartPlan & { readonly isLeader: boolean },
  situation: StartSituation,
): Promise<void> {
  const { client } = situation;
  const { isLeader } = plan;
  const refusal = await refusalOfStart(situation);
  if (!refusal) return;
  await client.call('update_configuration', plan.settings({ isLeader, changesDatabase: true }));
  await changeDatabase(refusal, tenure, situation);
  await client.call('update_configuration', plan.settings({ isLeader, changesDatabase: false }));
  situation.phase('starting: the application is being started');
  const again = await refusalOfStart(situation);
  if (again) throw again;
}

async function claim(duty: keyof Duties, { duties, holds }: StartSituation): Promise<Tenure | undefined> {
  const tenure = await duties?.[duty].claim();
  if (tenure) holds(duty, tenure);
  return tenure;
}

/** Undefined when it has started; rejects with every refusal that is not about the database. */
async function refusalOfStart({ client, ended }: StartSituation): Promise<AdminRefusal | undefined> {
  try {
    await client.call('start', {}, { signal: ended });
    return undefined;
  } catch (error) {
    const isAboutDatabase =
      error instanceof AdminRefusal &&
      (error.result === startResult.noDatabase || error.result === startResult.outOfSync);
    if (isAboutDatabase) return error;
    throw error;
  }
}

async function changeDatabase(
  refusal: AdminRefusal,
  tenure: Tenure,
  { client, phase, log, ended }: StartSituation,
): Promise<void> {
  phase('changes the structure of the database to that of the model', true);
  const why = refusal.result === startResult.noDatabase ? 'is empty' : 'does not fit the model';
  // An empty database has no structure to be compared with, so there is nothing to list.
  const commands =
    refusal.result === startResult.noDatabase
      ? []
      : (await client.call('get_ddl_commands', { verbose: true }, { signal: ended })).ddl_commands;
  log.info(
    { notice: true, ddlCommands: commands },
    `the database ${why}: changing it${commands.length > 0 ? ` with ${commands.length} commands` : ''}`,
  );
  await client.call('execute_ddl_commands', undefined, { signal: AbortSignal.any([tenure.over, ended]) });
  log.info({ notice: true }, 'the structure of the database is changed');
}

/**
 * The settings that a runtime is sent at its start. They are the user's, the same for every instance, and with them what
 * high availability needs: sessions that every instance knows, one address, one place for files. A setting of the user
 * that contradicts this is refused with the reason; nothing is overwritten in silence.
 *
 * Two settings are each instance's own and decided at its start: whether it is the leader, of which there is one
 * (`com.mendix.core.isClusterSlave`), and which scheduled events it runs.
 */
import type { MendixApplication } from './application.ts';

export interface SharedFacts {
  /** As configured; in what is sent, secrets are resolved. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly appUrl: string | undefined;
  readonly files: MendixFiles | undefined;
  readonly instances: number;
  readonly scheduledEvents: ScheduledEvents | undefined;
}

type MendixFiles =
  | { readonly kind: 'directory'; readonly directory: string }
  | {
      readonly kind: 's3';
      readonly bucket: string;
      readonly endpoint: string | undefined;
      readonly region: string;
      readonly accessKeyId: string | undefined;
      readonly secretAccessKey: string | undefined;
    };

/**
 * Who runs the scheduled events of the model: the leader alone; every instance, each microflow asking its agent first;
 * nobody, because Holdfast posts at the due time; or the runtimes by themselves, through their task queue (9.12).
 */
export type ScheduledEvents = 'designated' | 'gate' | 'post' | 'runtime';

export interface SettingProblem {
  /** The setting, as a key of `app.settings`. */
  readonly key: string;
  readonly message: string;
}

const slaveKey = 'com.mendix.core.isClusterSlave';
const storageKey = 'com.mendix.core.StorageService';

/** What cannot be: found when the configuration is read, before anything is started. */
export function settingProblems(
  facts: Omit<SharedFacts, 'files'> & { readonly filesKind: 'directory' | 's3' | undefined },
): SettingProblem[] {
  const { settings, appUrl, filesKind, instances, scheduledEvents } = facts;
  const problems: SettingProblem[] = [];
  const refuse = (key: string, message: string): void => void problems.push({ key, message });
  if (slaveKey in settings)
    refuse(slaveKey, 'one instance is the leader at any time, and Holdfast decides which: leave it out');
  if (settings.PersistentSessions === false && instances > 1)
    refuse(
      'PersistentSessions',
      'users would be logged out whenever their instance goes: leave it out, it is switched on',
    );
  const root = settings.ApplicationRootUrl;
  if (root !== undefined && appUrl !== undefined && !isSameUrl(String(root), appUrl))
    refuse('ApplicationRootUrl', 'it is not the address in `app.url`: leave it out, it is taken from there');
  if (filesKind !== undefined && settings.UploadedFilesPath !== undefined)
    refuse('UploadedFilesPath', 'uploads go where `files` says: leave out one of the two');
  if (filesKind === 's3' && settings[storageKey] !== undefined)
    refuse(storageKey, 'uploads go where `files` says: leave out one of the two');
  problems.push(
    ...intervalProblems(settings),
    ...eventProblems(settings.ScheduledEventExecution, scheduledEvents),
  );
  return problems;
}

function intervalProblems(settings: Readonly<Record<string, unknown>>): SettingProblem[] {
  const timeoutMs = Number(settings.SessionTimeout ?? 600_000);
  const managerMs = Number(settings.ClusterManagerActionInterval ?? timeoutMs / 2);
  const key = 'SessionKeepAliveUpdatesInterval';
  const given = settings[key];
  if (given === undefined) return [];
  if (Number(given) > timeoutMs)
    return [
      {
        key,
        message: `sessions would end between two updates: at most SessionTimeout, which is ${timeoutMs} ms`,
      },
    ];
  if (Number(given) > managerMs)
    return [{ key, message: `at most ClusterManagerActionInterval, which is ${managerMs} ms` }];
  return [];
}

function eventProblems(execution: unknown, way: ScheduledEvents | undefined): SettingProblem[] {
  const isOn = execution !== undefined && execution !== 'NONE';
  const key = 'ScheduledEventExecution';
  if (way === 'post' && isOn)
    return [{ key, message: 'with `scheduledEvents: post` no runtime runs them by itself: leave it out' }];
  if ((way === 'gate' || way === 'designated') && execution === 'NONE')
    return [{ key, message: `with \`scheduledEvents: ${way}\` the runtimes run them: leave it out` }];
  return [];
}

export interface StartFacts extends SharedFacts {
  readonly application: MendixApplication;
  readonly isLeader: boolean;
  /** While it changes the structure of the database it is no slave, whoever the leader is. */
  readonly changesDatabase?: boolean;
}

export interface SentSettings {
  readonly settings: Readonly<Record<string, unknown>>;
  /** What a person should know: a risk that is allowed. */
  readonly hints: readonly string[];
}

/** Everything that one start sends: a runtime keeps nothing from the last one. */
export function settingsToSend(facts: StartFacts): SentSettings {
  const { application, settings, appUrl, isLeader } = facts;
  const { version } = application;
  const { constants, hints } = constantsToSend(application, settings.MicroflowConstants);
  const sent = {
    BasePath: application.appBase,
    RuntimePath: `${application.installPath}/runtime`,
    DTAPMode: 'P',
    PersistentSessions: true,
    ...(appUrl === undefined ? {} : { ApplicationRootUrl: appUrl.endsWith('/') ? appUrl : `${appUrl}/` }),
    ...Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, asSent(key, value)])),
    ...fileSettings(facts.files),
    ...(constants === undefined ? {} : { MicroflowConstants: constants }),
    ...(version.isAtLeast(7) ? { [slaveKey]: !isLeader && facts.changesDatabase !== true } : {}),
    ...eventSettings(facts),
  };
  if (
    facts.instances > 1 &&
    facts.files === undefined &&
    settings[storageKey] === undefined &&
    settings.UploadedFilesPath === undefined
  )
    hints.push(
      'uploaded files stay on the host that received them: name a shared folder or a bucket under `files`',
    );
  if (facts.scheduledEvents === 'runtime' && !hasTaskQueue(facts))
    hints.push(
      `nobody runs the scheduled events: \`scheduledEvents: runtime\` needs Mendix 9.12 or later, and this is ${version.text}`,
    );
  return { settings: sent, hints };
}

/** Whether the instance runs scheduled events by itself, so that it must be stopped when it is not the leader any more. */
export const runsEvents = (sent: Readonly<Record<string, unknown>>): boolean =>
  sent.ScheduledEventExecution === 'ALL' || sent.ScheduledEventExecution === 'SPECIFIED';

function wayOf({
  scheduledEvents,
  application,
}: Pick<StartFacts, 'scheduledEvents' | 'application'>): ScheduledEvents {
  return scheduledEvents ?? (hasTaskQueue({ application }) ? 'runtime' : 'designated');
}

/** From this version on one node takes each scheduled event out of a queue in the database, and any may. */
const hasTaskQueue = ({ application }: Pick<StartFacts, 'application'>): boolean =>
  application.version.isAtLeast(9, 12);

function eventSettings(facts: StartFacts): Record<string, unknown> {
  const { settings, isLeader, scheduledEvents } = facts;
  const wanted = settings.ScheduledEventExecution;
  switch (wayOf(facts)) {
    case 'runtime':
      return hasTaskQueue(facts) ? {} : { ScheduledEventExecution: 'NONE' };
    case 'post':
      return { ScheduledEventExecution: 'NONE' };
    case 'gate':
      return { ScheduledEventExecution: wanted ?? 'ALL' };
    case 'designated': {
      // Nobody asked for it: the runtime's own default is that no events are run.
      const forLeader = wanted ?? (scheduledEvents === undefined ? 'NONE' : 'ALL');
      return { ScheduledEventExecution: isLeader ? forLeader : 'NONE' };
    }
  }
}

function fileSettings(files: MendixFiles | undefined): Record<string, unknown> {
  if (files === undefined) return {};
  if (files.kind === 'directory') return { UploadedFilesPath: files.directory };
  const prefix = 'com.mendix.storage.s3';
  return {
    [storageKey]: prefix,
    [`${prefix}.BucketName`]: files.bucket,
    [`${prefix}.Region`]: files.region,
    ...(files.endpoint === undefined ? {} : { [`${prefix}.EndPoint`]: files.endpoint }),
    ...(files.accessKeyId === undefined ? {} : { [`${prefix}.AccessKeyId`]: files.accessKeyId }),
    ...(files.secretAccessKey === undefined ? {} : { [`${prefix}.SecretAccessKey`]: files.secretAccessKey }),
  };
}

const joined = ['MyScheduledEvents', 'CACertificates', 'ClientCertificates', 'ClientCertificatePasswords'];

/** The runtime wants these lists as texts with commas. */
const asSent = (key: string, value: unknown): unknown =>
  joined.includes(key) && Array.isArray(value) ? value.join(',') : value;

/** Only constants that the model has are sent; those without a value have the model's. */
function constantsToSend(
  { constants: ofModel }: MendixApplication,
  given: unknown,
): { constants: Record<string, unknown> | undefined; hints: string[] } {
  const own = given !== null && typeof given === 'object' ? (given as Record<string, unknown>) : {};
  if (given === undefined && Object.keys(ofModel).length === 0) return { constants: undefined, hints: [] };
  const known = Object.entries(own).filter(([name]) => name in ofModel);
  const unknown = Object.keys(own).filter((name) => !(name in ofModel));
  const hints = unknown.length === 0 ? [] : [`the model has no constant ${unknown.join(', ')}: not sent`];
  const defaults = Object.entries(ofModel).filter(([, value]) => value !== undefined && value !== null);
  return { constants: Object.fromEntries([...defaults, ...known]), hints };
}

/** Apart from a slash at the end, which people write or leave out as it comes. */
const isSameUrl = (one: string, other: string): boolean =>
  one.replace(/\/+$/, '') === other.replace(/\/+$/, '');

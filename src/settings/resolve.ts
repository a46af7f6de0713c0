/** From the form in which people write to the form in which the code reads. Pure: the folder of the file is given. */
import { resolve as resolvePath } from 'node:path';
import { withoutUndefined } from '../support/without-undefined.ts';
import type {
  AlarmSettings,
  AppSettings,
  CalendarSettings,
  Configuration,
  EventHook,
  EventMissed,
  EventPlace,
  EventRun,
  EventSchedule,
  EventSettings,
  FenceSettings,
  FileSettings,
  MendixSettings,
} from './configuration.ts';
import { monthNames, weekdayNames } from './events-schema.ts';
import { momentOf } from './moments.ts';
import { balancerOf } from './resolve-balancer.ts';
import { alarmOutcomes } from './safeguards-schema.ts';
import { instanceNames, type ParsedInput } from './schema.ts';

/** What the plain words `missed: all`, `missed: none` and `lost: rerun` mean. */
const missedAll = { count: 100, ageMs: 86_400_000 } as const;
const missedNone = { afterMs: 60_000 } as const;
const lostRerun = { reruns: 3 } as const;

/** `directory` is the absolute path of the folder against which relative paths are meant. */
export function resolve(input: ParsedInput, directory: string): Configuration {
  const { sessions, lease } = input;
  return {
    cluster: input.cluster,
    database: databaseOf(input.database),
    app: appOf(input, directory),
    balancer: balancerOf(input.balancer, directory),
    sessions: {
      idleMs: sessions.idle,
      absoluteMs: sessions.absolute,
      away: sessions.away,
      encryptionKey: sessions.encryptionKey,
    },
    files: filesOf(input.files, directory),
    lease: { ttlMs: lease.ttl, heartbeatMs: lease.heartbeat },
    events: Object.entries(input.events)
      .map(([name, event]) => eventOf(name, event))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    ledger: { keepMs: input.ledger.keep },
    alarm: alarmOf(input.alarm),
    fence: fenceOf(input.fence),
  };
}

function databaseOf(database: ParsedInput['database']): Configuration['database'] {
  if (database === undefined) return undefined;
  return typeof database === 'string'
    ? { url: database, password: undefined }
    : { url: database.url, password: database.password };
}

function appOf({ cluster, app }: ParsedInput, directory: string): AppSettings {
  const { health, stop, restart } = app;
  const urls = new Map<string, string>();
  if (Array.isArray(app.instances)) {
    for (const instance of app.instances)
      if (typeof instance !== 'string') urls.set(instance.name, instance.url);
  }
  return {
    platform: app.platform,
    command: app.command,
    workingDirectory: resolvePath(directory, app.workingDirectory ?? '.'),
    instances: instanceNames(cluster, app.instances).map((name) => ({ name, url: urls.get(name) })),
    port: app.port,
    url: app.url,
    health: {
      path: health.path,
      status: health.expect.status,
      body: health.expect.body,
      everyMs: health.every,
      timeoutMs: health.timeout,
      unhealthyAfter: health.unhealthyAfter,
      healthyAfter: health.healthyAfter,
      startWithinMs: health.startWithin,
      restartAfterMs: health.restartAfter === 'never' ? Number.POSITIVE_INFINITY : health.restartAfter,
      requireLease: health.requireLease,
      listen: health.listen,
    },
    stop: { drainMs: stop.drain, killMs: stop.kill },
    restart: {
      firstPauseMs: restart.backoff,
      longestPauseMs: restart.maxBackoff,
      healthyResetMs: restart.settledAfter,
      loopExits: restart.crashLoop.exits,
      loopWithinMs: restart.crashLoop.within,
    },
    environment: Object.fromEntries(
      Object.entries(app.environment).map(([name, value]) => [
        name,
        typeof value === 'object' ? value : String(value),
      ]),
    ),
    settings: app.settings,
    mendix: app.mendix && mendixOf(app.mendix, directory),
  };
}

function mendixOf(
  { java, appBase, runtimes, ...others }: NonNullable<ParsedInput['app']['mendix']>,
  directory: string,
): MendixSettings {
  return {
    adminPort: undefined,
    adminPassword: undefined,
    listen: undefined,
    scheduledEvents: undefined,
    ...others,
    logging: others.logging.map(withoutUndefined),
    appBase: resolvePath(directory, appBase),
    runtimes: runtimes.map((folder) => resolvePath(directory, folder)),
    java: typeof java === 'string' ? [java] : java,
  };
}

function filesOf(files: ParsedInput['files'], directory: string): FileSettings | undefined {
  if (files === undefined) return undefined;
  if ('directory' in files) return { kind: 'directory', directory: resolvePath(directory, files.directory) };
  const { bucket, endpoint, region, prefix, forcePathStyle, accessKeyId, secretAccessKey } = files.s3;
  return { kind: 's3', bucket, endpoint, region, prefix, forcePathStyle, accessKeyId, secretAccessKey };
}

type ParsedEvent = ParsedInput['events'][string];

function eventOf(name: string, event: ParsedEvent): EventSettings {
  const { times, backoff, maxBackoff } = event.retry;
  return {
    name,
    calendar: calendarOf(event),
    run: runOf(event.run),
    on: placeOf(event.on),
    overlap: event.overlap,
    missed: missedOf(event.missed),
    lost: lostOf(event.lost),
    timeoutMs: event.timeout,
    retry: { times, backoffMs: backoff, maxBackoffMs: maxBackoff },
    payload: event.payload,
    limit: event.limit,
    appointed: event.appointed && hookOf(event.appointed),
    dismissed: event.dismissed && hookOf(event.dismissed),
  };
}

function calendarOf(event: ParsedEvent): CalendarSettings | undefined {
  const schedule = scheduleOf(event);
  if (schedule === undefined) return undefined;
  const { timezone, dst, from, until } = event;
  return {
    schedule,
    timezone,
    dst: { skipped: dst.skipped, repeated: dst.repeated },
    fromMs: momentOf(timezone, from),
    untilMs: momentOf(timezone, until),
  };
}

function scheduleOf({ schedule, every, weekly, monthly, yearly }: ParsedEvent): EventSchedule | undefined {
  const weekdayNumber = (weekday: (typeof weekdayNames)[number]) => weekdayNames.indexOf(weekday) + 1;
  if (schedule !== undefined) return { kind: 'cron', cron: schedule };
  if (every !== undefined) return { kind: 'every', everyMs: every };
  if (weekly !== undefined)
    return { kind: 'weekly', weekdays: weekly.days.map(weekdayNumber), at: weekly.at };
  if (monthly !== undefined) {
    if ('day' in monthly) return { kind: 'monthly', day: monthly.day, at: monthly.at };
    const { weekday, which, at } = monthly;
    return { kind: 'monthlyWeekday', weekday: weekdayNumber(weekday), which, at };
  }
  if (yearly !== undefined) {
    return { kind: 'yearly', month: monthNames.indexOf(yearly.month) + 1, day: yearly.day, at: yearly.at };
  }
  return undefined;
}

function runOf(run: ParsedEvent['run']): EventRun | undefined {
  if (run === undefined) return undefined;
  return run === 'gate' ? { kind: 'gate' } : hookOf(run);
}

function hookOf(hook: { post: string } | { command: string }): EventHook {
  return 'post' in hook ? { kind: 'post', path: hook.post } : { kind: 'command', command: hook.command };
}

function placeOf(on: ParsedEvent['on']): EventPlace {
  return typeof on === 'string' ? { kind: on } : { kind: 'prefer', instance: on.prefer };
}

function missedOf(missed: ParsedEvent['missed']): EventMissed {
  if (missed === 'latest') return { kind: 'latest' };
  if (missed === 'all') return { kind: 'all', ...missedAll };
  if (missed === 'none') return { kind: 'none', ...missedNone };
  if ('none' in missed) return { kind: 'none', afterMs: missed.none.after };
  return { kind: 'all', count: missed.all.count, ageMs: missed.all.age };
}

function lostOf(lost: ParsedEvent['lost']): EventSettings['lost'] {
  if (lost === 'abandon') return { reruns: 0 };
  return lost === 'rerun' ? lostRerun : { reruns: lost.rerun };
}

function alarmOf(alarm: ParsedInput['alarm']): AlarmSettings | undefined {
  if (alarm === undefined) return undefined;
  const { post, command = '', secret } = alarm;
  return {
    on: alarmOutcomes.filter((outcome) => alarm.on.includes(outcome)),
    hook: post === undefined ? { kind: 'command', command } : { kind: 'post', url: post },
    secret,
  };
}

function fenceOf(fence: ParsedInput['fence']): FenceSettings | undefined {
  if (fence === undefined) return undefined;
  const timeoutMs = fence.timeout;
  return 'role' in fence
    ? { kind: 'role', role: fence.role, timeoutMs }
    : { kind: 'command', command: fence.command, timeoutMs };
}

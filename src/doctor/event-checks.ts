/** Scheduled events: each is due again, none is overdue, and none is done several times by accident. */
import {
  builtInPrefix,
  type EventTotals,
  type EventView,
  eventTotals,
  listEvents,
} from '../events/administration.ts';
import { openCalendar } from '../protocol/calendar/calendar.ts';
import { localText, zoneOf } from '../protocol/calendar/zone.ts';
import type { EventSettings } from '../settings/index.ts';
import { type Check, counted, type Finding, green, listed, red, yellow } from './check.ts';
import { clusterFacts } from './cluster-facts.ts';
import { looks } from './looks.ts';

const none = green(['No events are configured.']);

function nextDue({ calendar }: EventSettings, nowMs: number): number | undefined {
  return calendar && openCalendar(calendar).next(nowMs);
}

/** `configured`: what the newest revision names; `events`: what the agents have put into the ledger. */
export function judgePreview(
  configured: readonly EventSettings[],
  events: readonly EventView[],
  nowMs: number,
): Finding {
  const own = events.filter(({ name }) => !name.startsWith(builtInPrefix));
  const unknown = configured.filter(({ name }) => !own.some((event) => event.name === name));
  const paused = own.filter((event) => event.paused !== null);
  const over = configured.filter((event) => event.calendar && nextDue(event, nowMs) === undefined);
  const evidence = configured.map((event) => `${event.name}: ${duePhrase(event, nowMs)}.`);
  if (configured.length === 0) return none;
  if (unknown.length > 0) {
    return red(
      [`${listed(unknown.map(({ name }) => name))}: no agent has taken it into the ledger.`, ...evidence],
      'Only an agent that runs the newest revision does: restart the agents, and see instances.up.',
    );
  }
  if (paused.length > 0 || over.length > 0) {
    return yellow(
      [
        ...paused.map(({ name, paused: rest }) => `${name} is paused by ${rest?.by}: ${rest?.reason}.`),
        ...over.map(({ name }) => `${name} is never due again.`),
        ...evidence,
      ],
      '`holdfast events resume NAME` ends a pause; an event whose time is over may be taken out of the configuration.',
    );
  }
  return green(evidence);
}

function duePhrase(event: EventSettings, nowMs: number): string {
  if (!event.calendar) return 'an instance is appointed';
  const dueMs = nextDue(event, nowMs);
  if (dueMs === undefined) return 'never due again';
  const { timezone } = event.calendar;
  return `next due ${localText(zoneOf(timezone), Math.floor(dueMs / 1_000) * 1_000)} (${timezone})`;
}

export function judgeOverdue({ nowMs, unclaimed, fences, lastDay }: EventTotals): Finding {
  const { failed, missed, abandoned } = lastDay;
  const day = `In the last 24 hours ${failed} failed, ${missed} missed, ${abandoned} abandoned.`;
  const figures = { unclaimed: unclaimed.length, failed, missed, abandoned };
  if (unclaimed.length > 0) {
    return red(
      [
        ...unclaimed.map(
          ({ event, sinceMs }) =>
            `${event} could have begun ${Math.round((nowMs - sinceMs) / 1_000)} s ago, and no agent takes it.`,
        ),
        day,
      ],
      '`holdfast events list` says what each waits for; an agent whose instance is not up takes nothing.',
      figures,
    );
  }
  if (fences.length > 0) {
    return yellow(
      [
        ...fences.map(
          ({ instance, tries, error }) =>
            `${instance} is not fenced yet after ${counted(tries, 'try').replace('trys', 'tries')}: ${error ?? 'under way'}.`,
        ),
        day,
      ],
      'What it ran waits until the fence has answered; see docs/operations.md.',
      figures,
    );
  }
  if (failed + missed + abandoned > 0) {
    return yellow([day], '`holdfast events runs --since 1d --outcome failed` says which and why.', figures);
  }
  return green([`Nothing is overdue. ${day}`], figures);
}

/** What the instances' probes say of their events; undefined where none of them does. */
export type OwnWork = readonly string[] | undefined;

/**
 * Work for one that is scheduled on all is the mistake that a second instance brings. The configuration alone cannot
 * show it: whether something is to be done once or on each instance, only those know who wrote it. So the
 * application says which of its events are work on an instance's own things, and the two are compared.
 */
export function judgeEverywhere(
  configured: readonly EventSettings[],
  ownWork: OwnWork,
  instances: number,
): Finding {
  if (configured.length === 0) return none;
  const copies = sameWork(configured);
  const each = configured.filter(({ on }) => on.kind === 'each').map(({ name }) => name);
  const accidents = ownWork ? each.filter((name) => !ownWork.includes(name)) : [];
  const lonely = configured.filter(({ name, on }) => ownWork?.includes(name) && on.kind !== 'each');
  if (copies.length > 0 || accidents.length > 0) {
    return red(
      [
        ...accidents.map(
          (name) =>
            `${name} runs on each of ${counted(instances, 'instance')}, and the application does not name it as work that each has to do.`,
        ),
        ...copies.map((names) => `${listed(names)} are the same work, due at the same moments.`),
      ],
      'Set `on: one`, so that each due moment is done once, by whoever lives. If each instance has to do it, name it in the `ownWork` of the probe.',
    );
  }
  if (lonely.length > 0) {
    return yellow(
      lonely.map(({ name }) => `${name} is work that each instance has to do, and only one does it.`),
      'Set `on: each`.',
    );
  }
  const once = configured.length - each.length;
  if (each.length === 0) return green([`${counted(once, 'event')}, each on one instance at a time.`]);
  if (ownWork) {
    return green([
      `${listed(each)}: on each instance, as the application says. ${counted(once, 'other event')} on one.`,
    ]);
  }
  return yellow(
    [
      `${listed(each)}: on each of ${counted(instances, 'instance')}. Whether that is meant, only the application can say.`,
    ],
    "Name in the `ownWork` of the probe the events whose work is on an instance's own things, such as its temporary files.",
  );
}

const comparedDues = 20;

/** Groups of events that would do the same at the same time: a crontab of each host, written down one after the other. */
function sameWork(configured: readonly EventSettings[]): string[][] {
  const groups = new Map<string, string[]>();
  for (const { name, run, payload, calendar } of configured) {
    if (!run || run.kind === 'gate' || !calendar) continue;
    const opened = openCalendar(calendar);
    const dues: number[] = [];
    for (
      let dueMs = opened.next(0);
      dueMs !== undefined && dues.length < comparedDues;
      dueMs = opened.next(dueMs)
    )
      dues.push(dueMs);
    const key = JSON.stringify([run, payload ?? null, dues]);
    groups.set(key, [...(groups.get(key) ?? []), name]);
  }
  return [...groups.values()].filter((names) => names.length > 1);
}

export const eventChecks: readonly Check[] = [
  {
    id: 'events.preview',
    claim: 'Every event is known and due again',
    async run(context) {
      const { configuration } = await clusterFacts(context);
      const { events, nowMs } = await listEvents(context.arbiter.query);
      return judgePreview(configuration.events, events, nowMs);
    },
  },
  {
    id: 'events.overdue',
    claim: 'Nothing waits for somebody to do it',
    run: async ({ arbiter }) => judgeOverdue(await eventTotals(arbiter.query)),
  },
  {
    id: 'events.everywhere',
    claim: 'Nothing is done on every instance by accident',
    async run(context) {
      const { facts, told } = await looks(context);
      const declared = told.flatMap(({ look }) => (look.ownWork ? [look.ownWork] : []));
      const ownWork = declared.length > 0 ? [...new Set(declared.flat())] : undefined;
      const { events, app } = facts.configuration;
      return judgeEverywhere(events, ownWork, app.instances.length);
    },
  },
];

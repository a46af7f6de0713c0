/** `holdfast events trigger`: a run that a person asks for, and with --wait what becomes of it. */
import type { Query } from '../database/arbiter.ts';
import { triggerEvent } from '../events/administration.ts';
import type { EventSettings } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import type { EventOptions } from './events.ts';
import { requireEvent, unknownEvent, whoAsks, withEvents } from './events-access.ts';
import { type Followed, followOccurrences } from './events-follow.ts';
import { occurrenceJson } from './events-runs-view.ts';
import { isoTime, span } from './events-times.ts';
import { printJson, styled } from './output.ts';

export interface TriggerOptions extends EventOptions {
  /** Already parsed; undefined: the one of the configuration. */
  readonly payload?: { readonly value: unknown };
  readonly by?: string;
  readonly wait?: boolean;
  readonly timeout?: number;
}

const say = (text: string): boolean => process.stdout.write(`${text}\n`);

export async function eventsTriggerCommand(name: string, options: TriggerOptions): Promise<void> {
  if (options.timeout !== undefined && !options.wait)
    throw new HoldfastError('USAGE', '--timeout says how long --wait waits: name both.');
  await withEvents(options, async (query) => {
    const asked = await ask(query, name, options);
    if (!options.wait) {
      if (options.json) printJson({ event: name, outcome: 'asked', occurrences: asked.map(askedJson) });
      else {
        for (const one of asked) say(askedText(name, one));
        say(styled('dim', `See what becomes of it: holdfast events runs ${name}`));
      }
      return;
    }
    if (!options.json) for (const one of asked) say(askedText(name, one));
    const ids = asked.map(({ occurrence }) => occurrence);
    await follow(query, name, ids, options);
  });
}

interface Asked {
  readonly occurrence: string;
  readonly place: string;
  readonly dueMs: number;
  readonly held: 'predecessor' | null;
}

async function ask(query: Query, name: string, options: TriggerOptions): Promise<readonly Asked[]> {
  const { event } = await requireEvent(query, name);
  refuseWithoutRun(event.definition);
  const answer = await triggerEvent(query, name, {
    by: whoAsks(options.by),
    ...(options.payload ? { payload: options.payload.value } : {}),
  });
  if (answer.outcome === 'unknown') throw await unknownEvent(query, name);
  if (answer.occurrences.length > 0) return answer.occurrences;
  throw new HoldfastError('NOT_RUNNING', `${name} runs on each instance, and no instance is there.`, {
    remedy: '`holdfast status` shows the instances.',
  });
}

function refuseWithoutRun({ name, run }: EventSettings): void {
  if (run !== undefined) return;
  throw new HoldfastError('USAGE', `${name} has nothing to run: it only keeps an instance appointed.`);
}

const askedJson = ({ occurrence, place, dueMs, held }: Asked) => ({
  occurrence,
  place: place === '' ? null : place,
  due: isoTime(dueMs),
  held,
});

function askedText(name: string, { place, held }: Asked): string {
  const where = place === '' ? '' : ` on ${place}`;
  return held
    ? `${name}${where}: asked for, in line behind the one before it.`
    : `${name}${where}: asked for.`;
}

async function follow(
  query: Query,
  event: string,
  ids: readonly string[],
  options: TriggerOptions,
): Promise<void> {
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const startedMs = performance.now();
  const followed = await followOccurrences(query, ids, {
    say: (text) => {
      if (!options.json) say(`  ${styled('dim', `+${span(performance.now() - startedMs)}`)}  ${text}`);
    },
    timeoutMs: options.timeout,
    signal: stop.signal,
  }).finally(() => {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  });
  const { occurrences, ended } = followed;
  const succeeded = ended === 'all' && occurrences.every(({ outcome }) => outcome === 'succeeded');
  process.exitCode = succeeded ? 0 : 1;
  if (options.json)
    printJson({
      event,
      outcome: outcomeOf(followed, succeeded),
      occurrences: occurrences.map(occurrenceJson),
    });
  else if (ended !== 'all') say(endTexts[ended]);
}

const outcomeOf = ({ ended }: Followed, succeeded: boolean): string =>
  ended === 'all' ? (succeeded ? 'succeeded' : 'failed') : ended;

const endTexts = {
  timeout: 'Not waiting any longer. It goes on by itself.',
  interrupted: 'Not waiting any longer. It goes on by itself.',
  forgotten:
    'The ledger no longer has it: a failover has lost the last commits. Ask again if it is still wanted.',
} as const;

/** Sessions: one that began on an instance is there on every other, and one that ended is gone there. */
import { type Check, type Finding, green, listed, notChecked, red, yellow } from './check.ts';
import { type DoctorContext, observed } from './context.ts';
import { CookieJar } from './http-client.ts';
import { type Looks, looks, type Told, unlessSilent, withoutProbe } from './looks.ts';
import { stickiness } from './stickiness.ts';

export interface SessionTrial {
  /** Undefined: it could not be tried, because of `why`. */
  readonly steps: readonly SessionStep[] | undefined;
  readonly why: Finding | undefined;
}

export interface SessionStep {
  readonly from: string;
  readonly to: string;
  readonly known: boolean;
  readonly tookMs: number;
  /** How long it was still known after it had been ended where it began; undefined: for as long as was waited. */
  readonly knownForMs: number | undefined;
}

/** From the first instance to all others, and from the last one back. */
export const sessionTrial = observed(async (context: DoctorContext): Promise<SessionTrial> => {
  const seen = await looks(context);
  const { told } = seen;
  const [first, second] = told;
  if (!first) return { steps: undefined, why: withoutProbe(seen) };
  if (!second) {
    const remedy = seen.silent.length > 0 ? withoutProbe(seen).remedy : 'See instances.up.';
    return {
      steps: undefined,
      why: notChecked([`Only ${first.name} could be asked; it takes two.`, ...seen.silent], remedy ?? ''),
    };
  }
  if (!told.every(({ look }) => look.hasSessions)) {
    return {
      steps: undefined,
      why: notChecked(
        ['The probe sees no session: the application keeps none, or the probe is mounted before them.'],
        'Mount the probe after the session middleware (Fastify: in the scope in which sessions are registered).',
      ),
    };
  }
  const last = told.at(-1) as Told;
  const there = await carry(context, seen, first, told.slice(1));
  if ('verdict' in there) return { steps: undefined, why: there };
  const back = await carry(context, seen, last, [first]);
  if ('verdict' in back) return { steps: undefined, why: back };
  return { steps: [...there, ...back], why: undefined };
});

/** A session that begins at `from`: who else knows it, and who knows it after it has ended there? */
async function carry(
  { newMark, clock }: DoctorContext,
  { facts: { probe } }: Looks,
  from: Told,
  others: readonly Told[],
): Promise<SessionStep[] | Finding> {
  const mark = newMark();
  const jar = new CookieJar();
  const began = await probe.ask(from.door, { verb: 'remember', parameters: [['mark', mark]], jar });
  if (began.kind !== 'told') {
    return red(
      [`${from.name} could not begin a session: ${began.why}.`],
      "Look at the application's log: a session that cannot be saved is a user who cannot log in.",
    );
  }
  const atHome = await probe.look(from.door, { jar });
  if (atHome.kind !== 'told' || atHome.told.mark !== mark) {
    return notChecked(
      [
        `The session that was begun on ${from.name} was not known there with the next request: no cookie came, or it did not count.`,
      ],
      "Is the cookie `secure`, and does the application trust the doctor's address as a proxy? Run the doctor on the host of a balancer.",
    );
  }
  const seen: Omit<SessionStep, 'knownForMs'>[] = [];
  for (const to of others) {
    const reply = await probe.look(to.door, { jar });
    const known = reply.kind === 'told' && reply.told.mark === mark;
    seen.push({ from: from.name, to: to.name, known, tookMs: reply.kind === 'told' ? reply.http.tookMs : 0 });
  }
  const cookies = jar.copy();
  await probe.ask(from.door, { verb: 'forget', jar });
  const endedMs = clock.monotonicMs();
  const isKnown = async ({ door }: Told) => {
    const reply = await probe.look(door, { jar: cookies.copy() });
    return reply.kind === 'told' && reply.told.mark === mark;
  };
  return Promise.all(
    seen.map(async (step, index) => {
      const knownForMs = step.known
        ? await goneAfter(clock, endedMs, () => isKnown(others[index] as Told))
        : 0;
      return { ...step, knownForMs };
    }),
  );
}

/** Other instances hear of an end by a notification, which takes a moment. */
const endHeardWithinMs = 2_000;

async function goneAfter(
  clock: DoctorContext['clock'],
  sinceMs: number,
  isKnown: () => Promise<boolean>,
): Promise<number | undefined> {
  while (await isKnown()) {
    if (clock.monotonicMs() - sinceMs > endHeardWithinMs) return undefined;
    await clock.sleep(20);
  }
  return Math.round(clock.monotonicMs() - sinceMs);
}

/** `wanders`: the balancer itself sends users from instance to instance, so the harm is named by traffic.sticky. */
export function judgeSessions({ steps, why }: SessionTrial, wanders: boolean): Finding {
  if (!steps) return why ?? notChecked(['It was not tried.'], 'Run it again.');
  const unknown = steps.filter(({ known }) => !known);
  if (unknown.length > 0) {
    const evidence = unknown.map(({ from, to }) => `A session that began on ${from} is unknown on ${to}.`);
    const shared =
      'Keep sessions where every instance sees them: holdfast/sessions does it for Express and Fastify (docs/sessions.md).';
    if (wanders) {
      return yellow([...evidence, 'What users feel of it now is named by traffic.sticky.'], shared);
    }
    return red([...evidence, 'When an instance ends, all of its users are logged out.'], shared);
  }
  const undead = steps.filter(({ knownForMs }) => knownForMs === undefined);
  if (undead.length > 0) {
    return red(
      undead.map(
        ({ from, to }) =>
          `A session that was ended on ${from} was still known on ${to} ${endHeardWithinMs / 1_000} s later.`,
      ),
      'A logout must count everywhere at once: use a store that reads, or is told of, every end of a session.',
    );
  }
  const [first] = steps;
  const there = steps.filter(({ from }) => from === first?.from);
  const goneMs = Math.max(...steps.map(({ knownForMs = 0 }) => knownForMs));
  const slowestMs = Math.max(...steps.map(({ tookMs }) => tookMs));
  return green(
    [
      `A session that began on ${first?.from} was known on ${listed(there.map(({ to }) => to))}, and back; the slowest answer took ${slowestMs} ms.`,
      `When it had ended on one, it was gone on the others ${goneMs} ms later.`,
    ],
    { slowestMs, goneMs },
  );
}

export const sessionChecks: readonly Check[] = [
  {
    id: 'instances.sessions',
    claim: 'A user who is known to one instance is known to all',
    async run(context) {
      const trial = await sessionTrial(context);
      const isLost = trial.steps?.some(({ known }) => !known) ?? false;
      const wanders = isLost && (await stickiness(context)).kind === 'wanders';
      return unlessSilent(judgeSessions(trial, wanders), await looks(context));
    },
  },
];

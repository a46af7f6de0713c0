/**
 * Whether a user stays with one instance: a browser's requests through a balancer, and who answered each. The probe
 * says its name; without one, the balancer's cookie does, whose value the doctor can compute for every instance.
 */
import { stickyValue } from '../protocol/affinity.ts';
import type { ClusterFacts, Reachable } from './cluster-facts.ts';
import { type DoctorContext, observed } from './context.ts';
import { CookieJar } from './http-client.ts';
import { looks } from './looks.ts';
import type { Door } from './probe-client.ts';

export type Stickiness =
  | {
      readonly kind: 'stays';
      readonly instance: string;
      readonly requests: number;
      readonly seenBy: 'probe' | 'cookie';
    }
  | { readonly kind: 'wanders'; readonly instances: readonly string[]; readonly requests: number }
  | { readonly kind: 'unknown'; readonly why: string };

/** So many that chance does not look like an intention: of two instances, once in half a million. */
const requests = 20;

export const stickiness = observed(async (context: DoctorContext): Promise<Stickiness> => {
  const { facts, told } = await looks(context);
  const balancer = facts.balancers.find(({ door }) => door !== undefined);
  if (!balancer?.door) return { kind: 'unknown', why: whyNoBalancer(facts.balancers) };
  if (facts.instances.length < 2) return { kind: 'unknown', why: 'it takes two instances that are up' };
  return told.length > 0 ? byProbe(context, facts, balancer.door) : byCookie(context, facts, balancer.door);
});

export function whyNoBalancer(balancers: readonly Reachable[]): string {
  const [first] = balancers;
  return first ? `${first.name}: ${first.why}` : 'no balancer reports to the arbiter';
}

/** A user with a session, as an application's own cookie may be what decides. */
async function byProbe({ newMark }: DoctorContext, { probe }: ClusterFacts, door: Door): Promise<Stickiness> {
  const jar = new CookieJar();
  const seen: string[] = [];
  const began = await probe.ask(door, { verb: 'remember', parameters: [['mark', newMark()]], jar });
  if (began.kind === 'unreached') return { kind: 'unknown', why: `the balancer: ${began.why}` };
  for (let i = 0; i < requests; i++) {
    const reply = await probe.look(door, { jar });
    if (reply.kind !== 'told') return { kind: 'unknown', why: `through the balancer: ${reply.why}` };
    seen.push(reply.told.instance ?? '?');
  }
  await probe.ask(door, { verb: 'forget', jar });
  return verdictOn(seen, 'probe');
}

async function byCookie({ ask }: DoctorContext, facts: ClusterFacts, door: Door): Promise<Stickiness> {
  const { sticky } = facts.configuration.balancer;
  if (sticky.kind !== 'cookie')
    return { kind: 'unknown', why: 'without a probe nobody says which instance answers' };
  const jar = new CookieJar();
  const seen: string[] = [];
  for (let i = 0; i < requests; i++) {
    const answer = await ask({
      ...healthQuestion(facts, door),
      headers: { ...door.headers, ...jar.header() },
    });
    if ('noAnswer' in answer) return { kind: 'unknown', why: `the balancer: ${answer.noAnswer}` };
    jar.keep(answer);
    seen.push(ownerOf(jar.get(sticky.cookie), facts) ?? '?');
  }
  return verdictOn(seen, 'cookie');
}

/** An address that every application has and that changes nothing. */
export const healthQuestion = ({ configuration }: ClusterFacts, { url, from }: Door) => ({
  url: `${url}${configuration.app.health.path}`,
  ...(from === undefined ? {} : { from }),
});

/** Whose value of the sticky cookie this is: the instance's part of it; behind a dot stands the user's. */
export const ownerOf = (
  value: string | undefined,
  { stickyKey, view }: Pick<ClusterFacts, 'stickyKey' | 'view'>,
) =>
  view.members
    .map(({ instance }) => instance)
    .find((name) => stickyValue(stickyKey, name) === value?.split('.')[0]);

function verdictOn(seen: readonly string[], seenBy: 'probe' | 'cookie'): Stickiness {
  const instances = [...new Set(seen)].toSorted();
  const [only] = instances;
  if (only === '?') return { kind: 'unknown', why: 'the answers do not say which instance they are from' };
  if (instances.length === 1 && only !== undefined)
    return { kind: 'stays', instance: only, requests, seenBy };
  return { kind: 'wanders', instances, requests };
}

/** What the probe of every instance says, asked once for all checks that need it. */
import { type ProbeLook, probeSecretVariable } from '../protocol/probe.ts';
import { type Finding, notChecked, yellow } from './check.ts';
import { type ClusterFacts, clusterFacts, type Reachable, steeredDoor } from './cluster-facts.ts';
import { type DoctorContext, observed } from './context.ts';
import type { Door } from './probe-client.ts';

export interface Told {
  readonly name: string;
  readonly host: string;
  readonly door: Door;
  readonly look: ProbeLook;
  /** Since the question was sent. */
  readonly tookMs: number;
  readonly askedAtWallMs: number;
}

export interface Looks {
  readonly facts: ClusterFacts;
  /** In the order of the names. */
  readonly told: readonly Told[];
  /** A sentence for each instance whose probe did not answer. */
  readonly silent: readonly string[];
}

/** Variables that the agent gives to each instance and that must be the same; the root URL and files have checks of their own. */
const sharedVariables = ['HOLDFAST_CLUSTER', 'HOLDFAST_SESSIONS'];

export const looks = observed(async (context: DoctorContext): Promise<Looks> => {
  const facts = await clusterFacts(context);
  const names = [...sharedVariables, ...Object.keys(facts.configuration.app.environment)];
  const parameters = [['key', context.newMark()], ...names.map((name) => ['name', name])] as [
    string,
    string,
  ][];
  const answers = await Promise.all(
    facts.instances.map((instance) => lookAt(context, facts, instance, parameters)),
  );
  const isTold = (answer: Told | string): answer is Told => typeof answer !== 'string';
  return {
    facts,
    told: answers.filter(isTold),
    silent: answers.filter((answer) => typeof answer === 'string').toSorted(),
  };
});

/** Directly; where that is no way, through a balancer. The sentence that says why, where neither is one. */
async function lookAt(
  { clock }: DoctorContext,
  facts: ClusterFacts,
  { name, host, door: direct, why }: Reachable,
  parameters: readonly (readonly [string, string])[],
): Promise<Told | string> {
  const steered = steeredDoor(facts, name);
  const ways = [direct, steered].filter((door) => door !== undefined);
  const reasons = direct ? [] : [why];
  for (const door of ways) {
    const askedAtWallMs = clock.wallMs();
    const reply = await facts.probe.look(door, { parameters });
    if (reply.kind === 'told' && (door === direct || reply.told.instance === name)) {
      return { name, host, door, look: reply.told, tookMs: reply.http.tookMs, askedAtWallMs };
    }
    const answer = reply.kind === 'told' ? `${reply.told.instance} answered in its place` : reply.why;
    reasons.push(door === direct ? answer : `through the balancer ${answer}`);
    if (reply.kind === 'absent' || reply.kind === 'refused') break; // by another way it would say the same
  }
  return `${name}: ${reasons.join('; ')}.`;
}

const mountIt =
  'Mount the probe of holdfast/doctor in the application (docs/doctor.md, "The probe"), or answer its questions in another language.';

/** Why nothing can be said without probes, and what to do about it. */
export function withoutProbe({ facts, silent }: Looks): Finding {
  if (facts.instances.length === 0) {
    return notChecked(['No instance is up.'], 'See instances.up.');
  }
  const isRefused = silent.some((why) => why.includes(' 403') || why.includes(' 503'));
  const remedy = isRefused
    ? `Give the application the ${probeSecretVariable} of its environment, which every agent sets; restart an instance that was started by an older agent.`
    : mountIt;
  return notChecked(silent, remedy);
}

/** Names of the instances by value, for values that should be one. */
export function byValue<Value>(told: readonly Told[], valueIn: (told: Told) => Value): Map<Value, string[]> {
  const names = new Map<Value, string[]>();
  for (const one of told) names.set(valueIn(one), [...(names.get(valueIn(one)) ?? []), one.name]);
  return names;
}

/** What is proved for those that could be asked is not proved for all. */
export function unlessSilent(finding: Finding, { silent }: Looks): Finding {
  if (finding.verdict !== 'green' || silent.length === 0) return finding;
  const evidence = [...finding.evidence, ...silent.map((why) => `Not asked: ${why}`)];
  return yellow(
    evidence,
    'See to it that every probe can be asked: `holdfast status` says where each instance is.',
    finding.figures,
  );
}

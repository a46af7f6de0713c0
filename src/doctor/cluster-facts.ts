/** What the arbiter says of the cluster, and where its parts are reached from here. */
import { isIPv6 } from 'node:net';
import { type ClusterView, stickyKeyOf, viewCluster } from '../members/cluster.ts';
import { stickyValue } from '../protocol/affinity.ts';
import { parseTrustedProxies } from '../protocol/forwarded.ts';
import { probeSecret } from '../protocol/probe.ts';
import { type Configuration, configurationFromDocument, currentRevision } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type DoctorContext, observed } from './context.ts';
import { type Door, type ProbeClient, probeClient } from './probe-client.ts';

export type Member = ClusterView['members'][number];

/** An instance that should have users, and how it is asked. */
export interface Reachable {
  readonly name: string;
  readonly host: string;
  /** Undefined: not from here, because of `why`. */
  readonly door: Door | undefined;
  readonly why: string;
}

export interface ClusterFacts {
  readonly view: ClusterView;
  readonly configuration: Configuration;
  /** Its number, which is the newest. */
  readonly revision: number;
  readonly stickyKey: string;
  readonly probe: ProbeClient;
  /** Those that are up, in the order of their names. */
  readonly instances: readonly Reachable[];
  /** Those that reported within the last five seconds. */
  readonly balancers: readonly Reachable[];
}

const aliveWithinMs = 5_000;

/** Rejects with ARBITER_*, or REVISION_MISSING where nothing was ever configured. */
export const clusterFacts = observed(async (context: DoctorContext): Promise<ClusterFacts> => {
  const { arbiter, ask, probePath } = context;
  const view = await viewCluster(arbiter.query);
  const revision = await currentRevision(arbiter);
  if (!revision) {
    throw new HoldfastError('REVISION_MISSING', 'The arbiter holds no configuration yet.', {
      remedy: 'Start `holdfast up`, or an agent with -c holdfast.yaml.',
    });
  }
  const configuration = configurationFromDocument(revision.document);
  const stickyKey = await stickyKeyOf(arbiter.query);
  const isLiving = ({ left, state }: Member) => !left && state === 'up';
  return {
    view,
    configuration,
    revision: revision.number,
    stickyKey,
    probe: probeClient({ ask, path: probePath, secret: probeSecret(stickyKey) }),
    instances: view.members.filter(isLiving).map((member) => instanceDoor(member, configuration, context)),
    balancers: view.balancers
      .filter(({ seenAgoMs }) => seenAgoMs < aliveWithinMs)
      .map(({ name, facts }) => balancerDoor(name, facts, configuration, context)),
  };
});

/** As a balancer would ask, so that the application sets its cookies as it does for users. */
function instanceDoor(
  { instance, facts }: Member,
  configuration: Configuration,
  { host }: DoctorContext,
): Reachable {
  const common = { name: instance, host: facts.host };
  if (!facts.address) return { ...common, door: undefined, why: 'it has no address' };
  const { address } = facts;
  if (isLoopback(address.host) && facts.host !== host) return { ...common, ...onlyThere(facts.host) };
  const { publicHost, scheme } = publicAddress(configuration);
  const headers =
    publicHost === undefined
      ? {}
      : { host: publicHost, 'x-forwarded-host': publicHost, 'x-forwarded-proto': scheme };
  return { ...common, door: { url: `http://${bracketed(address.host)}:${address.port}`, headers }, why: '' };
}

function balancerDoor(
  name: string,
  facts: Readonly<Record<string, unknown>>,
  configuration: Configuration,
  { host }: DoctorContext,
): Reachable {
  const theirs = String(facts.host);
  const listen = String(facts.listen);
  const colon = listen.lastIndexOf(':');
  const bound = listen.slice(0, colon).replace(/^\[|\]$/g, '');
  const common = { name, host: theirs };
  if (isLoopback(bound) && theirs !== host) return { ...common, ...onlyThere(theirs) };
  const isWildcard = bound === '0.0.0.0' || bound === '::';
  const at = isWildcard ? (theirs === host ? '127.0.0.1' : theirs) : bound;
  if (at.startsWith('127.') && isProxyExpected(configuration)) {
    return { ...common, door: undefined, why: 'from its own host it expects the PROXY protocol' };
  }
  const { publicHost } = publicAddress(configuration);
  const scheme = configuration.balancer.tls ? 'https' : 'http';
  const door = {
    url: `${scheme}://${bracketed(at)}:${listen.slice(colon + 1)}`,
    headers: publicHost === undefined ? {} : { host: publicHost },
    ...(at.startsWith('127.') ? { from: otherLoopback } : {}),
  };
  return { ...common, door, why: '' };
}

/** An address of this machine that no balancer speaks from, so that the two can be told apart. */
const otherLoopback = '127.0.0.2';

/**
 * The way to one instance through a balancer: whoever knows the cluster's key can name it in the sticky cookie. So a
 * doctor that cannot reach the instances themselves can ask each of them all the same.
 */
export function steeredDoor(
  { stickyKey, balancers, configuration }: ClusterFacts,
  instance: string,
): Door | undefined {
  const { sticky } = configuration.balancer;
  const door = balancers.find((balancer) => balancer.door !== undefined)?.door;
  if (!door || sticky.kind !== 'cookie') return undefined;
  return { ...door, cookie: [sticky.cookie, `${stickyValue(stickyKey, instance)}.doctor`] };
}

const isProxyExpected = ({ balancer }: Configuration): boolean =>
  parseTrustedProxies(balancer.proxyProtocol?.from ?? []).trusted.trusts(otherLoopback);

const onlyThere = (host: string) => ({
  door: undefined,
  why: `it is reached on its own host only: run the doctor on ${host}`,
});

function publicAddress({ app }: Configuration): { publicHost: string | undefined; scheme: string } {
  const url = app.url === undefined ? undefined : new URL(app.url);
  return { publicHost: url?.host, scheme: url?.protocol.replace(':', '') ?? 'http' };
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host.startsWith('127.');

const bracketed = (host: string): string => (isIPv6(host) ? `[${host}]` : host);

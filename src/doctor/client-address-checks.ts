/** The client's address: the application knows the real one, and believes none that the client made up. */
import { lookup } from 'node:dns/promises';
import { parseTrustedProxies } from '../protocol/forwarded.ts';
import { type Check, type Finding, green, notChecked, red, yellow } from './check.ts';
import { isLoopback } from './cluster-facts.ts';
import { type DoctorContext, observed } from './context.ts';
import { type Looks, looks, withoutProbe } from './looks.ts';
import { whyNoBalancer } from './stickiness.ts';

/** From a block that is reserved for documentation: it is nobody's address. */
export const forgedAddress = '203.0.113.77';

const forgedHeaders: Readonly<Record<string, string>> = {
  'x-forwarded-for': forgedAddress,
  forwarded: `for=${forgedAddress}`,
  'x-real-ip': forgedAddress,
  'x-client-ip': forgedAddress,
  'true-client-ip': forgedAddress,
  'cf-connecting-ip': forgedAddress,
};

interface Sighting {
  /** What the application took for the client's address. */
  readonly client: string | null;
  readonly claims: Readonly<Record<string, string>>;
  /** From where the doctor spoke. */
  readonly from: string;
}

export interface Sightings {
  readonly honest: Sighting;
  readonly forged: Sighting;
  readonly balancerHost: string;
  /** Addresses from which the balancer may speak to the application. */
  readonly balancerAddresses: readonly string[];
}

const plain = (address: string): string => address.replace(/^::ffff:/, '');

/** Undefined with the reason where no probe was reached through a balancer. */
const sightings = observed(async (context: DoctorContext): Promise<Sightings | Finding> => {
  const seen = await looks(context);
  const { facts } = seen;
  if (seen.told.length === 0) return withoutProbe(seen);
  const balancer = facts.balancers.find(({ door }) => door !== undefined);
  if (!balancer?.door) return notChecked([`${whyNoBalancer(facts.balancers)}.`], 'See traffic.balancers.');
  const { door, host } = balancer;
  const look = async (headers: Readonly<Record<string, string>>): Promise<Sighting | string> => {
    const reply = await facts.probe.look(door, { headers });
    if (reply.kind !== 'told') return reply.why;
    return {
      client: reply.told.client && plain(reply.told.client),
      claims: reply.told.claims,
      from: reply.http.localAddress,
    };
  };
  const honest = await look({});
  const forged = await look(forgedHeaders);
  if (typeof honest === 'string') return unseen(honest, seen);
  if (typeof forged === 'string') return unseen(forged, seen);
  const addresses = await lookup(host, { all: true }).catch(() => []);
  return {
    honest,
    forged,
    balancerHost: host,
    balancerAddresses: ['127.0.0.1', '::1', ...addresses.map(({ address }) => address)],
  };
});

const unseen = (why: string, { facts }: Looks): Finding =>
  notChecked(
    [`The probe was not reached through the balancer: ${why}.`],
    facts.configuration.balancer.deny.length > 0
      ? 'Does balancer.deny close its path? Then there is nothing to see from here.'
      : 'See traffic.balancers.',
  );

export function judgeClientAddress({ honest, balancerHost, balancerAddresses }: Sightings): Finding {
  const { client, from } = honest;
  const remedy =
    'Tell the application to trust the balancers as proxies (Express: `trust proxy`, Fastify: `trustProxy`), and only them.';
  if (client === null) {
    return notChecked(
      ['The probe does not see an address.'],
      'Mount it in a framework that knows `request.ip`.',
    );
  }
  const isAmbiguous = balancerAddresses.includes(from);
  if (client === from && !isAmbiguous)
    return green([`The application saw ${client}, which is where the doctor spoke from.`]);
  if (client === from) {
    return notChecked(
      [
        `The application saw ${client}: the doctor spoke from there, but so does the balancer on ${balancerHost}.`,
      ],
      'Run the doctor on another host than the balancer.',
    );
  }
  if (balancerAddresses.includes(client) || isLoopback(client)) {
    return red(
      [
        `The application saw ${client}, the balancer's own address; the doctor spoke from ${from}.`,
        'To the application all users are one: limits, logs and bans by address hit everybody.',
      ],
      remedy,
    );
  }
  return yellow(
    [`The application saw ${client}; the doctor spoke from ${from}.`],
    'If addresses are translated on the way, that is right; else see which proxy is between, and balancer.trustedProxies.',
  );
}

/** Who trusts every network needs no trial to be found; `seen` is the finding where there could be none. */
export function judgeSpoofing(seen: Sightings | Finding, trustedProxies: readonly string[]): Finding {
  const believesAll = trustedProxies.filter((network) => /^(0\.0\.0\.0|::)\/0$/.test(network));
  if (believesAll.length > 0) {
    const arrived = 'forged' in seen && seen.forged.client === forgedAddress;
    return red(
      [
        `balancer.trustedProxies holds ${believesAll.join(' and ')}: everybody is believed.`,
        ...(arrived ? [`The application took the made-up address ${forgedAddress} for the client's.`] : []),
      ],
      'List in balancer.trustedProxies the proxies in front of the balancer and nobody else; without any, leave it out.',
    );
  }
  if (!('forged' in seen)) return seen;
  const { client, claims, from } = seen.forged;
  const carriers = Object.entries(claims).flatMap(([name, value]) =>
    value.includes(forgedAddress) ? [name] : [],
  );
  const arrived = client === forgedAddress || carriers.length > 0;
  if (arrived && parseTrustedProxies(trustedProxies).trusted.trusts(from)) {
    return notChecked(
      [
        `The doctor speaks from ${from}, which balancer.trustedProxies names: what it claims is believed, as it should be.`,
      ],
      'Run the doctor from a host that is no proxy.',
    );
  }
  if (arrived) {
    const where = client === forgedAddress ? 'as the client' : `in ${carriers.join(', ')}`;
    return red(
      [
        `The made-up address ${forgedAddress} reached the application ${where}; the doctor spoke from ${from}.`,
      ],
      'Something between balancer and application puts it back, or the application reads a header that it should not. See balancer.trustedProxies.',
    );
  }
  return green([`Six headers claimed ${forgedAddress}; none reached the application, which saw ${client}.`]);
}

export const clientAddressChecks: readonly Check[] = [
  {
    id: 'traffic.client-address',
    claim: "The application knows its client's address",
    async run(context) {
      const seen = await sightings(context);
      return 'verdict' in seen ? seen : judgeClientAddress(seen);
    },
  },
  {
    id: 'traffic.spoofing',
    claim: 'An address that the client made up does not arrive',
    async run(context) {
      const seen = await sightings(context);
      const { facts } = await looks(context);
      return judgeSpoofing(seen, facts.configuration.balancer.trustedProxies);
    },
  },
];

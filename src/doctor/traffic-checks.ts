/** Traffic: balancers that are there, users who stay where they are, and users who are not lost with their instance. */
import { stickyValue } from '../protocol/affinity.ts';
import { type Check, counted, type Finding, green, listed, notChecked, red, yellow } from './check.ts';
import { type ClusterFacts, clusterFacts, type Reachable } from './cluster-facts.ts';
import type { DoctorContext } from './context.ts';
import { CookieJar } from './http-client.ts';
import type { Door } from './probe-client.ts';
import { judgeSessions, sessionTrial } from './session-checks.ts';
import { healthQuestion, ownerOf, type Stickiness, stickiness, whyNoBalancer } from './stickiness.ts';

interface Asked {
  readonly name: string;
  readonly answer: string;
  readonly isGood: boolean;
}

async function balancers({ ask }: DoctorContext, facts: ClusterFacts): Promise<Finding> {
  const asked = await Promise.all(
    facts.balancers.map(async ({ name, door, why }): Promise<Asked> => {
      if (!door) return { name, answer: why, isGood: true };
      const answer = await ask({ ...healthQuestion(facts, door), headers: door.headers });
      if ('noAnswer' in answer) return { name, answer: answer.noAnswer, isGood: false };
      return { name, answer: `${answer.status} in ${answer.tookMs} ms`, isGood: answer.status < 500 };
    }),
  );
  return judgeBalancers(facts.balancers, asked);
}

export function judgeBalancers(
  known: readonly Pick<Reachable, 'name' | 'host'>[],
  asked: readonly Asked[],
): Finding {
  const evidence = asked.map(({ name, answer }) => `${name}: ${answer}.`);
  const broken = asked.filter(({ isGood }) => !isGood);
  const hosts = new Set(known.map(({ host }) => host));
  if (known.length === 0) {
    return red(
      ['No balancer has reported within five seconds.'],
      'Start `holdfast balancer`, on two hosts if you can.',
    );
  }
  if (broken.length > 0) {
    return red(
      evidence,
      "Look at that balancer's log. An answer of 503 means that it reaches no instance: check addresses and firewalls between them.",
    );
  }
  if (hosts.size > 1)
    return green([...evidence, `${counted(known.length, 'balancer')} on ${counted(hosts.size, 'host')}.`]);
  const single =
    known.length === 1
      ? 'There is one balancer: if its host is lost, nobody gets through.'
      : `All balancers are on ${[...hosts][0]}.`;
  return yellow(
    [...evidence, single],
    'Run a second balancer on another host, behind an address that moves (keepalived) or two DNS records; any of them can serve any user.',
  );
}

export type SharedSessions = 'shared' | 'not shared' | 'unknown';

export function judgeStickiness(seen: Stickiness, sticky: string, shared: SharedSessions): Finding {
  if (seen.kind === 'unknown') {
    return notChecked(
      [`It could not be seen: ${seen.why}.`],
      'See instances.up and traffic.balancers, and mount the probe.',
    );
  }
  if (seen.kind === 'stays') {
    return green([
      `${seen.requests} requests of one browser all went to ${seen.instance} (${sticky}), as the ${seen.seenBy} tells.`,
    ]);
  }
  const wandered = `${seen.requests} requests of one browser went to ${listed(seen.instances)} (${sticky}).`;
  const remedy =
    'Set `balancer.sticky: { cookie: holdfast }`: a cookie of the balancer, which every browser brings back.';
  if (shared === 'not shared') {
    return red(
      [
        wandered,
        'Sessions are known only where they began, so users are logged out in the middle of their work.',
      ],
      remedy,
    );
  }
  const consequence =
    shared === 'shared'
      ? 'Sessions are shared, so nobody is logged out; each change of instance costs a read from the database.'
      : 'Whether sessions are shared could not be seen.';
  return yellow([wandered, consequence], remedy);
}

async function sticky(context: DoctorContext): Promise<Finding> {
  const { configuration } = await clusterFacts(context);
  const { sticky } = configuration.balancer;
  const trial = await sessionTrial(context);
  const shared = !trial.steps
    ? 'unknown'
    : judgeSessions(trial, false).verdict === 'green'
      ? 'shared'
      : 'not shared';
  return judgeStickiness(await stickiness(context), stickyInWords(sticky), shared);
}

function stickyInWords(sticky: ClusterFacts['configuration']['balancer']['sticky']): string {
  switch (sticky.kind) {
    case 'cookie':
      return `sticky by the cookie ${sticky.cookie}`;
    case 'application':
      return `sticky by the application's cookie ${sticky.session}`;
    case 'header':
      return `sticky by the header ${sticky.header}, which no browser sends by itself`;
    case 'address':
      return 'sticky by the client address';
  }
}

/** An instance that never was: for the balancers it is one that is gone. */
const goneInstance = 'holdfast-doctor: gone';

async function fallback(context: DoctorContext): Promise<Finding> {
  const facts = await clusterFacts(context);
  const { sticky } = facts.configuration.balancer;
  const door = facts.balancers.find((one) => one.door !== undefined)?.door;
  if (!door) return notChecked([whyNoBalancer(facts.balancers)], 'See traffic.balancers.');
  if (sticky.kind === 'header' || sticky.kind === 'address') {
    return green([
      `Users are placed by ${sticky.kind === 'header' ? 'a header' : 'their address'} among the instances that are there; nothing names one that is gone.`,
    ]);
  }
  const jar = new CookieJar();
  if (sticky.kind === 'application') {
    const mark = [['mark', context.newMark()]] as const;
    const began = await facts.probe.ask(door, { verb: 'remember', parameters: mark, jar });
    if (began.kind !== 'told') {
      return notChecked(
        [`Only a user with a session belongs to an instance, and none could be begun: ${began.why}.`],
        'Mount the probe after the session middleware.',
      );
    }
  }
  jar.set(sticky.cookie, stickyValue(facts.stickyKey, goneInstance));
  const finding = await sendAway(context, facts, door, jar, sticky.cookie);
  if (sticky.kind === 'application') await facts.probe.ask(door, { verb: 'forget', jar });
  return finding;
}

async function sendAway(
  { ask }: DoctorContext,
  facts: ClusterFacts,
  door: Door,
  jar: CookieJar,
  cookie: string,
): Promise<Finding> {
  const before = jar.get(cookie);
  const answer = await ask({ ...healthQuestion(facts, door), headers: { ...door.headers, ...jar.header() } });
  if ('noAnswer' in answer || answer.status >= 500) {
    const what = 'noAnswer' in answer ? answer.noAnswer : `the answer was ${answer.status}`;
    return red(
      [`A user whose instance is gone gets no page: ${what}.`],
      'See traffic.balancers and instances.up.',
    );
  }
  jar.keep(answer);
  const owner = ownerOf(jar.get(cookie), facts);
  const sent = `A user whose instance is gone was answered ${answer.status} in ${answer.tookMs} ms`;
  if (owner !== undefined) return green([`${sent}, and belongs to ${owner} from then on.`]);
  if (jar.get(cookie) !== before)
    return green([`${sent}, and the cookie names another instance from then on.`]);
  return red(
    [
      `${sent}, but the cookie ${cookie} still names the instance that is gone: with every request the user may be elsewhere.`,
    ],
    'Is there another proxy between users and balancer that drops Set-Cookie? Else report it.',
  );
}

interface Life {
  readonly balancer: string;
  readonly certificate: string;
  readonly names: readonly string[];
  readonly daysLeft: number;
}

export function judgeCertificates(lives: readonly Life[], tls: 'none' | 'files' | 'self-signed'): Finding {
  if (tls === 'none') {
    return green(['The balancers serve plain HTTP; a certificate in front of them is not seen from here.']);
  }
  if (lives.length === 0) {
    return notChecked(['No balancer reports its certificates.'], 'See traffic.balancers.');
  }
  const sorted = lives.toSorted((one, other) => one.daysLeft - other.daysLeft);
  const evidence = sorted.map(
    ({ balancer, certificate, names, daysLeft }) =>
      `${balancer}: ${certificate} (${names.join(', ')}) is good for ${counted(daysLeft, 'day')}.`,
  );
  const least = sorted[0]?.daysLeft ?? 0;
  const remedy =
    'Put the renewed files in place: balancers read them again by themselves. Then see why the renewal did not come.';
  if (least < 7) return red(evidence, remedy, { daysLeft: least });
  if (least < 21) return yellow(evidence, remedy, { daysLeft: least });
  if (tls === 'self-signed') {
    const evidenceOfIt = [...evidence, 'It is self-signed: browsers warn of it.'];
    return yellow(evidenceOfIt, 'For users, name the files of a real one under balancer.tls.certificates.', {
      daysLeft: least,
    });
  }
  return green(evidence, { daysLeft: least });
}

const livesOf = ({ view, balancers }: ClusterFacts): Life[] =>
  view.balancers
    .filter(({ name }) => balancers.some((one) => one.name === name))
    .flatMap(({ name, facts }) =>
      ((facts.certificates ?? []) as Omit<Life, 'balancer'>[]).map((life) => ({ balancer: name, ...life })),
    );

export const trafficChecks: readonly Check[] = [
  {
    id: 'traffic.balancers',
    claim: 'Balancers are there and reach the application',
    run: async (context) => balancers(context, await clusterFacts(context)),
  },
  { id: 'traffic.sticky', claim: 'A user stays with one instance', run: sticky },
  { id: 'traffic.fallback', claim: 'A user whose instance is gone is served by another one', run: fallback },
  {
    id: 'traffic.certificates',
    claim: 'Certificates are good for weeks',
    async run(context) {
      const facts = await clusterFacts(context);
      const { tls } = facts.configuration.balancer;
      return judgeCertificates(livesOf(facts), tls ? (tls.selfSigned ? 'self-signed' : 'files') : 'none');
    },
  },
];

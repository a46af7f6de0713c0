/** Instances: enough of them, of one version, with one configuration, and with a health check that means something. */
import type { ProbeTry } from '../protocol/probe.ts';
import { type Check, counted, type Finding, green, listed, notChecked, red, yellow } from './check.ts';
import { clusterFacts, type Member } from './cluster-facts.ts';
import type { DoctorContext } from './context.ts';
import { byValue, type Looks, looks, unlessSilent, withoutProbe } from './looks.ts';

export function judgeInstances(expected: readonly string[], members: readonly Member[]): Finding {
  const stateOf = (name: string) => members.find(({ instance, left }) => instance === name && !left);
  const names = [
    ...new Set([...expected, ...members.filter(({ left }) => !left).map(({ instance }) => instance)]),
  ];
  const up = names.flatMap((name) => (stateOf(name)?.state === 'up' ? [stateOf(name) as Member] : []));
  const away = names
    .filter((name) => stateOf(name)?.state !== 'up')
    .map((name) => ({ name, member: stateOf(name) }));
  const inMaintenance = away.filter(({ member }) => (member?.maintenance.length ?? 0) > 0);
  const hosts = new Set(up.map(({ facts }) => facts.host));
  const figures = { expected: names.length, up: up.length, hosts: hosts.size };
  const evidence = [
    `${up.length} of ${counted(names.length, 'instance')} up, on ${counted(hosts.size, 'host')}.`,
    ...away.map(({ name, member }) => `${name} is ${whyAway(member)}.`),
  ];
  if (names.length < 2) {
    return red(evidence, 'Set app.instances to 2 or more: with one there is nobody to take over.', figures);
  }
  if (up.length === 0 || away.length > inMaintenance.length) {
    return red(
      evidence,
      '`holdfast status` and the log of the agent say why an instance is not up.',
      figures,
    );
  }
  if (inMaintenance.length > 0) {
    return yellow(
      evidence,
      'End the maintenance when the work is done; until then there is one less to take over.',
      figures,
    );
  }
  if (hosts.size > 1) return green(evidence, figures);
  const oneHost = `All of them are on ${[...hosts][0]}: if it is lost, everything is.`;
  return yellow(
    [...evidence, oneHost],
    'Run an agent on a second host; for trying out it is all right.',
    figures,
  );
}

function whyAway(member: Member | undefined): string {
  if (!member) return 'not there';
  const { state, maintenance, facts, endedBecause } = member;
  const reason = maintenance.length > 0 ? maintenance.join(', ') : (facts.reason ?? endedBecause);
  return reason ? `${state}: ${reason}` : state;
}

export function judgeVersions(own: string, members: readonly Pick<Member, 'instance' | 'facts'>[]): Finding {
  const versionOf = ({ facts }: Pick<Member, 'facts'>) =>
    facts.version ?? 'an older version that does not tell';
  const versions = new Map<string, string[]>();
  for (const member of members) {
    versions.set(versionOf(member), [...(versions.get(versionOf(member)) ?? []), member.instance]);
  }
  const evidence = [...versions].map(([version, names]) => `${listed(names)}: ${version}.`);
  if (members.length === 0) return notChecked(['No agent is there.'], 'See instances.up.');
  if (versions.size === 1 && versions.has(own)) return green([`All agents and this command: ${own}.`]);
  return yellow(
    [...evidence, `This command: ${own}.`],
    'Install one version everywhere and restart the agents one after the other.',
  );
}

export function judgeSettings(
  seen: Looks,
  members: readonly Pick<Member, 'instance' | 'facts'>[],
  revision: number,
): Finding {
  const older = members.filter(({ facts }) => facts.revision !== revision);
  const pending = older.map(
    ({ instance, facts }) => `${instance} runs revision ${facts.revision}; the newest is ${revision}.`,
  );
  const names = new Set(seen.told.flatMap(({ look }) => Object.keys(look.settings)));
  const different = [...names].flatMap((name) => {
    const groups = [...byValue(seen.told, ({ look }) => look.settings[name]).values()];
    return groups.length > 1 ? [`${name} differs: ${oddOnes(groups)}.`] : [];
  });
  const figures = { settings: names.size, different: different.length, pending: pending.length };
  if (different.length > 0 && pending.length === 0) {
    return red(
      different,
      'Something outside of the configuration sets it on one host: a wrapper script, a unit file, a secret file. Let app.environment be the only place.',
      figures,
    );
  }
  if (pending.length > 0) {
    return yellow([...pending, ...different], 'Restart these instances one after the other.', figures);
  }
  if (seen.told.length < 2) {
    return notChecked(
      [
        `All agents run revision ${revision}. Whether the instances see the same values, only they can tell.`,
        ...seen.silent,
      ],
      withoutProbe(seen).remedy ?? '',
    );
  }
  return green(
    [
      `${counted(names.size, 'setting')} compared on ${listed(seen.told.map(({ name }) => name))}: all the same.`,
      `All agents run revision ${revision}.`,
    ],
    figures,
  );
}

/** Who is alone with a value, as `shop-2 against shop-1 and shop-3`. */
function oddOnes(groups: readonly (readonly string[])[]): string {
  const [most = [], ...others] = groups.toSorted((one, other) => other.length - one.length);
  return `${listed(others.flat())} against ${listed(most)}`;
}

export function judgeRootUrl(seen: Looks): Finding {
  const { configuration } = seen.facts;
  const configured = configuration.app.url;
  if (seen.told.length === 0) return withoutProbe(seen);
  const plain = (url: string | null) => url?.replace(/\/+$/, '') ?? null;
  const values = byValue(seen.told, ({ look }) => plain(look.rootUrl));
  if (values.size > 1) {
    const evidence = [...values].map(([url, names]) => `${listed(names)}: ${url ?? 'none'}.`);
    return red(
      evidence,
      'Links, mails and redirects lead to another address by who made them. Set app.url, and take the address from HOLDFAST_APP_URL alone.',
    );
  }
  const [only = null] = values.keys();
  const who = listed(seen.told.map(({ name }) => name));
  if (configured === undefined || only === null) {
    return yellow(
      [`${who}: ${only ?? 'no root URL'}; app.url is ${configured ?? 'not set'}.`],
      'Set app.url to the address that users type, so that every instance writes the same one into links and mails.',
    );
  }
  if (only !== plain(configured)) {
    return red(
      [`${who}: ${only}, while app.url is ${configured}.`],
      'Let the application take its address from HOLDFAST_APP_URL.',
    );
  }
  return green([`${who}: ${only}.`]);
}

interface Tried {
  readonly name: string;
  readonly tried: ProbeTry;
}

async function tryAll({ facts, told }: Looks): Promise<Tried[]> {
  const replies = await Promise.all(
    told.map(async ({ name, door }) => ({ name, reply: await facts.probe.try(door) })),
  );
  return replies.flatMap(({ name, reply }) => (reply.kind === 'told' ? [{ name, tried: reply.told }] : []));
}

export function judgeDatabase(seen: Looks, tried: readonly Tried[]): Finding {
  const known = tried.flatMap(({ name, tried: { database } }) => (database ? [{ name, ...database }] : []));
  if (seen.told.length === 0) return withoutProbe(seen);
  if (known.length === 0) {
    return notChecked(
      ['The probe was not told how the application asks its database.'],
      'Give it `database: () => pool.query("select 1")`.',
    );
  }
  const evidence = known.map(({ name, tookMs, error }) =>
    error === null ? `${name} reaches it in ${tookMs} ms.` : `${name} does not reach it: ${error}.`,
  );
  if (known.every(({ error }) => error === null)) return green(evidence);
  return red(evidence, 'Look at the log of that instance, and at the way from its host to the database.');
}

const isGood = (status: number, [lowest, highest]: readonly [number, number]): boolean =>
  status >= lowest && status <= highest;

export function judgeHealth(seen: Looks, tried: readonly Tried[]): Finding {
  const known = tried.flatMap(({ name, tried: { healthWithoutDatabase: health } }) =>
    health ? [{ name, ...health }] : [],
  );
  const { path, status: good } = seen.facts.configuration.app.health;
  if (seen.told.length === 0) return withoutProbe(seen);
  if (known.length === 0) {
    return notChecked(
      [`What ${path} would answer without the database, the probe was not told.`],
      'Give it `healthWithoutDatabase`: the health check, called with a database that is away.',
    );
  }
  const answers = new Map<string, string[]>();
  for (const { name, status, why } of known) {
    const answer = `would answer ${status} at ${path} without the database${why ? `: ${why}` : ''}`;
    answers.set(answer, [...(answers.get(answer) ?? []), name]);
  }
  const evidence = [...answers].map(([answer, names]) => `${listed(names)} ${answer}.`);
  const unaware = known.filter(({ status }) => isGood(status, good));
  if (unaware.length === 0) return green(evidence);
  if (unaware.every(({ why }) => why !== null)) return green([...evidence, 'That is how it is meant.']);
  return yellow(
    evidence,
    'An instance that has lost its database alone keeps its users. Let the health check ask the database, or say in `why` that it is meant so.',
  );
}

const trials =
  (judge: (seen: Looks, tried: readonly Tried[]) => Finding) => async (context: DoctorContext) => {
    const seen = await looks(context);
    return unlessSilent(judge(seen, await tryAll(seen)), seen);
  };

const isThere = ({ left, state }: Member): boolean => !left && state !== 'lost';

export const instanceChecks: readonly Check[] = [
  {
    id: 'instances.up',
    claim: 'Every instance is up, and there is more than one',
    async run(context) {
      const { configuration, view } = await clusterFacts(context);
      return judgeInstances(
        configuration.app.instances.map(({ name }) => name),
        view.members,
      );
    },
  },
  {
    id: 'instances.versions',
    claim: 'All agents run one version of Holdfast',
    run: async (context) =>
      judgeVersions(context.version, (await clusterFacts(context)).view.members.filter(isThere)),
  },
  {
    id: 'instances.settings',
    claim: 'Every instance runs the same configuration',
    async run(context) {
      const seen = await looks(context);
      const members = seen.facts.view.members.filter(isThere);
      return unlessSilent(judgeSettings(seen, members, seen.facts.revision), seen);
    },
  },
  {
    id: 'instances.root-url',
    claim: 'The root URL is the same on every instance',
    async run(context) {
      const seen = await looks(context);
      return unlessSilent(judgeRootUrl(seen), seen);
    },
  },
  { id: 'instances.database', claim: 'Every instance reaches its database', run: trials(judgeDatabase) },
  {
    id: 'instances.health',
    claim: 'Without the database the health check answers as it is meant to',
    run: trials(judgeHealth),
  },
];

/** Hosts: clocks that agree, files that can be opened, disks with room. */
import { readdir, readFile, statfs } from 'node:fs/promises';
import type { OpenFiles } from '../protocol/probe.ts';
import { type Check, type Finding, green, listed, notChecked, red, yellow } from './check.ts';
import type { DoctorContext } from './context.ts';
import { looks } from './looks.ts';

export interface ClockReading {
  readonly what: string;
  /** Ahead of the arbiter, if positive. */
  readonly offsetMs: number;
  /** It is that far from the truth at most. */
  readonly uncertainMs: number;
}

const uncomfortableMs = 2_000;
const wrongMs = 60_000;

export function judgeClocks(readings: readonly ClockReading[], silent: readonly string[]): Finding {
  const surely = ({ offsetMs, uncertainMs }: ClockReading) => Math.max(0, Math.abs(offsetMs) - uncertainMs);
  const worst = Math.max(0, ...readings.map(surely));
  const evidence = [
    ...readings.map(
      ({ what, offsetMs, uncertainMs }) =>
        `${what}: ${seconds(offsetMs)} against the arbiter (give or take ${seconds(uncertainMs).replace('+', '')}).`,
    ),
    ...silent,
  ];
  const figures = { worstMs: Math.round(worst) };
  const remedy =
    "Let chrony or systemd-timesyncd keep the time of every host. Leases do not depend on it: they are counted on the arbiter's clock; certificates, cookies, logs and the calendars of people do.";
  if (worst > wrongMs) return red(evidence, remedy, figures);
  if (worst > uncomfortableMs) return yellow(evidence, remedy, figures);
  return green(evidence, figures);
}

const seconds = (ms: number): string =>
  `${ms >= 0.5 ? '+' : ''}${(Math.round(ms) / 1_000 + 0 /* never -0 */).toFixed(3)} s`;

/** The arbiter's time lies between sending and receiving; so does its middle, give or take half. */
async function readClocks(context: DoctorContext): Promise<{ readings: ClockReading[]; silent: string[] }> {
  const { arbiter, clock, host } = context;
  const sentMs = clock.wallMs();
  const [row] = await arbiter.query<{ nowMs: number }>(
    `select (extract(epoch from clock_timestamp()) * 1000)::float8 as "nowMs"`,
  );
  const tookMs = clock.wallMs() - sentMs;
  const ownOffsetMs = sentMs + tookMs / 2 - (row?.nowMs ?? 0);
  const { told, silent } = await looks(context);
  const others = told
    .filter((one) => one.host !== host)
    .flatMap(({ name, host: theirs, look: { nowMs }, askedAtWallMs, tookMs: lookMs }) => {
      if (nowMs === null) return [];
      const offsetMs = nowMs - (askedAtWallMs + lookMs / 2) + ownOffsetMs;
      return [{ what: `${name} on ${theirs}`, offsetMs, uncertainMs: tookMs / 2 + lookMs / 2 }];
    });
  return {
    readings: [{ what: host, offsetMs: ownOffsetMs, uncertainMs: tookMs / 2 }, ...others],
    silent: [...silent],
  };
}

export interface Process {
  readonly what: string;
  readonly files: OpenFiles;
  /** How many it may need at its limits; undefined: nobody knows. */
  readonly needs: number | undefined;
}

const fewFiles = 1_024;

export function judgeOpenFiles(processes: readonly Process[], unseen: readonly string[]): Finding {
  if (processes.length === 0) {
    return notChecked(
      unseen.length > 0 ? unseen : ['No process of this cluster can be seen from here.'],
      'Run the doctor as the same user on a host of the cluster, or mount the probe.',
    );
  }
  const full = processes.filter(({ files }) => files.open > files.limit * 0.9);
  const short = processes.filter(({ files, needs }) => files.limit < (needs ?? fewFiles));
  const evidence = [
    ...processes.map(
      ({ what, files, needs }) =>
        `${what}: ${files.open} of ${files.limit} open files${needs === undefined ? '' : `; at its limits it needs ${needs}`}.`,
    ),
    ...unseen,
  ];
  const remedy =
    'Raise the limit where the process is started: LimitNOFILE= in its unit, `ulimit -n` in a shell. For a balancer, or lower balancer.limits.connections.';
  if (full.length > 0) return red(evidence, remedy);
  if (short.length > 0)
    return yellow([`Too few for ${listed(short.map(({ what }) => what))}.`, ...evidence], remedy);
  return green(evidence);
}

/** Processes of this host by their ids, those of applications elsewhere by their probes. */
async function processes(context: DoctorContext): Promise<{ seen: Process[]; unseen: string[] }> {
  const { facts, told } = await looks(context);
  const { limits } = facts.configuration.balancer;
  const perConnection = 2; // one towards the client, one towards the instance
  const balancerNeeds = Number.isFinite(limits.connections)
    ? limits.connections * perConnection + 200
    : undefined;
  const wanted = [
    ...facts.view.balancers
      .filter(({ name }) => facts.balancers.some((one) => one.name === name))
      .map(({ name, facts: balancer }) => ({
        what: `balancer ${name}`,
        host: String(balancer.host),
        pid: Number(balancer.pid),
        needs: balancerNeeds,
      })),
    ...facts.view.members
      .filter(({ left, state }) => !left && state !== 'lost')
      .map(({ instance, facts: member }) => ({
        what: `agent of ${instance}`,
        host: member.host,
        pid: member.agentPid,
        needs: undefined,
      })),
  ];
  const seen: Process[] = [];
  const unseen: string[] = [];
  for (const { what, host, pid, needs } of wanted) {
    const files = host === context.host ? await openFilesOf(pid) : undefined;
    if (files) seen.push({ what, files, needs });
    else unseen.push(`${what} on ${host}: not seen from here.`);
  }
  for (const { name, look } of told) {
    if (look.openFiles) seen.push({ what: name, files: look.openFiles, needs: undefined });
  }
  return { seen, unseen };
}

/** Undefined where the system or its rights do not tell. */
async function openFilesOf(pid: number): Promise<OpenFiles | undefined> {
  try {
    const limits = await readFile(`/proc/${pid}/limits`, 'utf8');
    const limit = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return limit === undefined
      ? undefined
      : { open: (await readdir(`/proc/${pid}/fd`)).length, limit: Number(limit) };
  } catch {
    return undefined;
  }
}

export interface Disk {
  readonly what: string;
  readonly freeBytes: number;
  readonly totalBytes: number;
}

const gigabyte = 1_073_741_824;

export function judgeDisks(disks: readonly Disk[], unseen: readonly string[]): Finding {
  if (disks.length === 0)
    return notChecked(unseen, 'Run the doctor on the host of the arbiter, and mount the probe.');
  const percent = ({ freeBytes, totalBytes }: Disk) =>
    totalBytes > 0 ? (freeBytes / totalBytes) * 100 : 100;
  const full = disks.filter((disk) => percent(disk) < 3 || disk.freeBytes < gigabyte / 4);
  const tight = disks.filter((disk) => percent(disk) < 10 || disk.freeBytes < gigabyte);
  const evidence = [
    ...disks.map(
      (disk) =>
        `${disk.what}: ${(disk.freeBytes / gigabyte).toFixed(1)} GB free (${Math.round(percent(disk))} %).`,
    ),
    ...unseen,
  ];
  const remedy =
    'Make room before it is full: a PostgreSQL without disk stops, and with it every lease; an upload that does not fit fails.';
  if (full.length > 0) return red(evidence, remedy);
  if (tight.length > 0) return yellow(evidence, remedy);
  return green(evidence);
}

async function disks(context: DoctorContext): Promise<{ seen: Disk[]; unseen: string[] }> {
  const { told } = await looks(context);
  const arbiter = await arbiterDisk(context);
  const own = await diskOf('the working folder of this command', process.cwd());
  const files = new Map<string, Disk>();
  for (const { name, host, look } of told) {
    if (!look.files) continue;
    const { directory, device, freeBytes, totalBytes } = look.files;
    const key = `${host} ${device}`;
    const names = files.get(key)?.what.replace(/ \(.*/, '');
    files.set(key, {
      what: `${names ? `${names}, ${name}` : `files of ${name}`} (${directory})`,
      freeBytes,
      totalBytes,
    });
  }
  return {
    seen: [...(arbiter ? [arbiter] : []), ...(own ? [own] : []), ...files.values()],
    unseen: arbiter ? [] : ["The arbiter's data folder is not seen from here."],
  };
}

/** Its data folder, if it is on this host and this role may know it. */
async function arbiterDisk({ arbiter }: DoctorContext): Promise<Disk | undefined> {
  const [row] = await arbiter
    .query<{ folder: string | null; isHere: boolean }>(
      `select current_setting('data_directory', true) as folder,
         coalesce(inet_server_addr() <<= '127.0.0.0/8' or inet_server_addr() = inet_client_addr(), true) as "isHere"`,
    )
    .catch(() => []); // without the rights of pg_read_all_settings
  return row?.folder && row.isHere ? diskOf('arbiter', row.folder) : undefined;
}

async function diskOf(what: string, folder: string): Promise<Disk | undefined> {
  try {
    const { bavail, blocks, bsize } = await statfs(folder);
    return { what: `${what} (${folder})`, freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return undefined; // not a folder of this host
  }
}

export const hostChecks: readonly Check[] = [
  {
    id: 'hosts.clocks',
    claim: 'Clocks agree with that of the arbiter',
    async run(context) {
      const { readings, silent } = await readClocks(context);
      return judgeClocks(readings, silent);
    },
  },
  {
    id: 'hosts.open-files',
    claim: 'Processes may open enough files',
    async run(context) {
      const { seen, unseen } = await processes(context);
      return judgeOpenFiles(seen, unseen);
    },
  },
  {
    id: 'hosts.disk',
    claim: 'There is room on the disks',
    async run(context) {
      const { seen, unseen } = await disks(context);
      return judgeDisks(seen, unseen);
    },
  },
];

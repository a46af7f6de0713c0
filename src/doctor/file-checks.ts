/** Files of users: what one instance writes, every other one reads, whole, and on storage that is really shared. */
import { type Check, type Finding, green, listed, notChecked, red, yellow } from './check.ts';
import type { DoctorContext } from './context.ts';
import { type Looks, looks, type Told, unlessSilent, withoutProbe } from './looks.ts';

export interface FileStep {
  readonly from: string;
  readonly to: string;
  readonly outcome: 'whole' | 'missing' | 'broken' | string;
}

/** File systems that other hosts can see, by the magic number of statfs(2). */
const sharedTypes: Readonly<Record<number, string>> = {
  26985: 'NFS',
  4283649346: 'CIFS',
  4266872130: 'SMB2',
  12805120: 'CephFS',
  1702057286: 'FUSE',
  198183888: 'Lustre',
  1196443219: 'GPFS',
  16914839: '9p',
  1952539503: 'OCFS2',
  18225520: 'GFS2',
};

const localTypes: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'XFS',
  2435016766: 'Btrfs',
  801189825: 'ZFS',
  16914836: 'tmpfs',
  2035054128: 'overlayfs',
};

interface FileTrial {
  readonly steps: readonly FileStep[];
  /** Why the first instance could not even write. */
  readonly refused: { readonly status: number; readonly why: string } | undefined;
}

async function carryFile(
  { newMark }: DoctorContext,
  { facts: { probe } }: Looks,
  all: readonly Told[],
): Promise<FileTrial> {
  const steps: FileStep[] = [];
  for (const from of [all[0], all.at(-1)] as Told[]) {
    const parameters = [['mark', newMark()]] as const;
    const written = await probe.ask(from.door, { verb: 'write', parameters });
    try {
      if (written.kind !== 'told') {
        const status = written.kind === 'refused' ? written.status : 0;
        return { steps, refused: { status, why: `${from.name}: ${written.why}` } };
      }
      for (const to of all.filter((one) => one !== from)) {
        const reply = await probe.ask(to.door, { verb: 'read', parameters });
        steps.push({ from: from.name, to: to.name, outcome: outcomeOf(reply) });
      }
    } finally {
      await probe.ask(from.door, { verb: 'remove', parameters });
    }
  }
  return { steps, refused: undefined };
}

function outcomeOf(reply: { kind: string; why?: string; told?: unknown }): FileStep['outcome'] {
  if (reply.kind !== 'told') return reply.why ?? 'unreached';
  const { found, whole } = reply.told as { found?: boolean; whole?: boolean };
  if (!found) return 'missing';
  return whole ? 'whole' : 'broken';
}

export function judgeFiles(
  steps: readonly FileStep[],
  told: readonly Pick<Told, 'name' | 'host' | 'look'>[],
): Finding {
  const wrong = steps.filter(({ outcome }) => outcome !== 'whole');
  const places = told.flatMap(({ name, look: { files } }) =>
    files ? [`${name}: ${files.directory} (${typeName(files.type)}, device ${files.device}).`] : [],
  );
  const remedy =
    'Mount one directory on every host (NFS, CephFS, SMB), or use a bucket, and name it under `files:`; the application takes it from HOLDFAST_FILES.';
  if (wrong.length > 0) {
    const evidence = wrong.map(
      ({ from, to, outcome }) => `A file that ${from} wrote is ${outcome} on ${to}.`,
    );
    return red([...evidence, ...places], remedy);
  }
  const who = listed([...new Set(steps.map(({ to }) => to))].toSorted());
  const seen = `What ${steps[0]?.from} wrote was read whole by every other one, and back (${who}).`;
  const local = told.flatMap(({ look: { files } }) =>
    files && files.type in localTypes ? [typeName(files.type)] : [],
  );
  const hosts = new Set(told.map(({ host }) => host));
  if (local.length > 0 && hosts.size === 1) {
    const oneHost = `All instances are on ${[...hosts][0]}, and this is a local disk (${local[0]}): on a second host it would not be there.`;
    return yellow([seen, oneHost, ...places], remedy);
  }
  return green([seen, ...places]);
}

const typeName = (type: number): string =>
  sharedTypes[type] ?? localTypes[type] ?? `file system 0x${type.toString(16)}`;

async function files(context: DoctorContext): Promise<Finding> {
  const seen = await looks(context);
  const { told } = seen;
  if (told.length === 0) return withoutProbe(seen);
  if (told.length === 1) {
    return notChecked(
      [`Only ${told[0]?.name} could be asked; it takes two.`, ...seen.silent],
      'See instances.up.',
    );
  }
  const { steps, refused } = await carryFile(context, seen, told);
  if (refused?.status === 501 && seen.facts.configuration.files === undefined) {
    return notChecked(
      ['No shared files are configured, and the application told its probe of none.'],
      'If the application keeps files of users, put them under `files:`; if it keeps none, nothing is to be done.',
    );
  }
  if (refused?.status === 501) {
    return notChecked(
      ['The probe was not told where the application keeps its files.'],
      'Give it `files`: the directory, or three functions that write, read and remove.',
    );
  }
  if (refused) {
    return red(
      [`A file could not be written by ${refused.why}.`],
      'Check that the storage is mounted on that host, that the application may write to it, and that it is not full.',
    );
  }
  return unlessSilent(judgeFiles(steps, told), seen);
}

export const fileChecks: readonly Check[] = [
  { id: 'instances.files', claim: 'A file that one instance writes is there for all', run: files },
];

/** `holdfast doctor`: examines the running cluster and says, with evidence, what would not hold. */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { openArbiter } from '../database/arbiter.ts';
import { systemClock } from '../database/clock.ts';
import { parseDatabaseUrl, withoutPassword } from '../database/url.ts';
import { type Check, type CheckGroup, checkGroups, groupOf } from '../doctor/check.ts';
import { checks } from '../doctor/checks.ts';
import { clusterFacts } from '../doctor/cluster-facts.ts';
import type { DoctorContext } from '../doctor/context.ts';
import { examine } from '../doctor/examine.ts';
import { askHttp } from '../doctor/http-client.ts';
import { defaultProbePath } from '../protocol/probe.ts';
import { nearestName } from '../settings/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type ConnectionOptions, findDatabase } from './connection.ts';
import { reportPage } from './doctor-page.ts';
import { groupTitles, reportJson, resultText, summaryText } from './doctor-view.ts';
import { screenWidth } from './events-access.ts';
import { printJson, styled, table, version } from './output.ts';
import { explainEmptyArbiter } from './status.ts';

interface DoctorOptions extends ConnectionOptions {
  readonly json?: boolean;
  readonly only?: readonly string[];
  readonly list?: boolean;
  readonly html?: string;
  readonly probe: string;
}

/** A check asks several things, each with a shorter deadline of its own. */
const checkDeadlineMs = 20_000;

export function registerDoctorCommand(program: Command, shared: () => readonly Option[]): void {
  const command = new Command('doctor')
    .description('prove, with evidence, that this cluster is highly available; name what is not')
    .addOption(
      new Option(
        '--only <ids...>',
        'only these checks, or groups of checks such as arbiter; --list shows them',
      ),
    )
    .option('--list', 'show what would be checked, and check nothing')
    .addOption(
      new Option('--probe <path>', 'where the application has its probe')
        .argParser(pathOfProbe)
        .default(defaultProbePath),
    )
    .option('--html <file>', 'write the report as a page as well')
    .addHelpText('after', help)
    .action(doctorCommand);
  for (const option of shared()) command.addOption(option);
  program.addCommand(command.copyInheritedSettings(program));
}

const help = `
It examines the cluster that runs, and changes nothing but what it removes again: a session, a small file. It asks the
arbiter, the balancers and the instances; what only the application can know it asks of its probe (holdfast/doctor).

  green        proved just now
  yellow       it holds, with a limit that you should know
  red          users will notice, now or at the next failure
  not checked  it could not be seen from here; that proves nothing

  holdfast doctor                              everything, in a few seconds
  holdfast doctor --only traffic               one group
  holdfast doctor --only instances.sessions    one check
  holdfast doctor --html report.html           a page to hand on
  holdfast doctor --json | jq '.checks[] | select(.verdict == "red")'

Exit code 0 where nothing is red, else 1. What each check means and what to do: docs/doctor.md.`;

function pathOfProbe(text: string): string {
  if (/^(\/[\w.~-]+)+$/.test(text)) return text;
  throw new InvalidArgumentError(`Expected a path such as ${defaultProbePath}.`);
}

async function doctorCommand(options: DoctorOptions): Promise<void> {
  const chosen = chooseChecks(options.only);
  if (options.list) {
    list(chosen, options.json ?? false);
    return;
  }
  const url = await findDatabase(options);
  const arbiter = openArbiter({ url, applicationName: 'holdfast doctor', max: 2 });
  try {
    const context: DoctorContext = {
      arbiter,
      arbiterAddress: withoutPassword(url).replace(/\?.*$/, ''),
      arbiterHosts: parseDatabaseUrl(url).hosts.length,
      clock: systemClock,
      ask: askHttp,
      host: hostname(),
      version: version(),
      probePath: options.probe,
      newMark: () => randomBytes(12).toString('hex'),
    };
    const cluster = await nameOfCluster(context);
    const results = await (options.json ? inSilence : aloud)(chosen, context, cluster);
    const report = reportJson(cluster, new Date(), results);
    if (options.html !== undefined) await writePage(options.html, reportPage(report));
    if (options.json) printJson(report);
    process.exitCode = results.some(({ verdict }) => verdict === 'red') ? 1 : 0;
  } finally {
    await arbiter.close();
  }
}

/**
 * Null while the arbiter is away, which is a finding, as is a table that is missing. A database without a cluster is an
 * error: there is no patient.
 */
async function nameOfCluster(context: DoctorContext): Promise<string | null> {
  try {
    const [row] = await context.arbiter
      .query<{ name: string }>('select name from holdfast.cluster')
      .catch(explainEmptyArbiter);
    await clusterFacts(context);
    return row?.name ?? null;
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code.startsWith('ARBITER_')) return null;
    throw error;
  }
}

async function writePage(file: string, page: string): Promise<void> {
  await writeFile(file, page).catch((cause: Error) => {
    throw new HoldfastError('USAGE', `--html: ${cause.message}.`, {
      cause,
      remedy: 'Name a file in a folder that is there.',
    });
  });
}

/** Throws USAGE for a name that is neither a check nor a group. */
export function chooseChecks(only: readonly string[] | undefined): readonly Check[] {
  if (!only) return checks;
  const names = [...checkGroups, ...checks.map(({ id }) => id)] as string[];
  for (const wanted of only) {
    if (names.includes(wanted)) continue;
    const nearest = nearestName(wanted, names);
    throw new HoldfastError('USAGE', `--only: there is no check "${wanted}".`, {
      remedy: `${nearest === undefined ? '' : `Did you mean ${nearest}? `}\`holdfast doctor --list\` shows all of them.`,
    });
  }
  return checks.filter((check) => only.includes(check.id) || only.includes(groupOf(check)));
}

function list(chosen: readonly Check[], json: boolean): void {
  if (json) printJson(chosen.map(({ id, claim }) => ({ id, claim })));
  else process.stdout.write(`${table(chosen.map(({ id, claim }) => [id, claim]))}\n`);
}

const inSilence = (chosen: readonly Check[], context: DoctorContext) =>
  examine(chosen, context, { clock: systemClock, deadlineMs: checkDeadlineMs });

/** Each result as soon as it is there; on a terminal, what is being looked at meanwhile. */
async function aloud(chosen: readonly Check[], context: DoctorContext, cluster: string | null) {
  const { stdout } = process;
  const width = Math.max(60, screenWidth() ?? 110);
  const startedMs = systemClock.monotonicMs();
  let group: CheckGroup | undefined;
  stdout.write(`${styled('bold', cluster ?? 'no cluster')}   arbiter ${context.arbiterAddress}\n`);
  const results = await examine(chosen, context, {
    clock: systemClock,
    deadlineMs: checkDeadlineMs,
    onBegin(check) {
      if (groupOf(check) !== group) stdout.write(`\n${styled('bold', groupTitles[groupOf(check)])}\n`);
      group = groupOf(check);
      if (stdout.isTTY) stdout.write(styled('dim', `  … ${check.claim}`));
    },
    onResult(result) {
      if (stdout.isTTY) stdout.write('\r\x1b[K');
      stdout.write(`${resultText(result, width)}\n`);
    },
  });
  stdout.write(`\n${summaryText(results, systemClock.monotonicMs() - startedMs)}\n`);
  return results;
}

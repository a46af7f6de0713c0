/**
 * `holdfast runtime …`: what a Mendix runtime on this host says of itself through its admin port. The agent beside it
 * has written down, for its own user alone, how that is reached.
 */
import { readFile } from 'node:fs/promises';
import type { Command, Option } from 'commander';
import { AdminClient, type LogLevel, logLevels } from '../platform/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { stateFolderOf } from './connection.ts';
import { adminFileOf } from './mendix-platform.ts';
import { printJson } from './output.ts';
import { requestLines, sessionLines, statisticsLines } from './runtime-view.ts';

interface RuntimeOptions {
  readonly config: string;
  readonly state?: string;
  readonly json?: boolean;
}

const userLimit = 1_000;

/** Adds the commands; `common` makes the options that every command has. */
export function registerRuntimeCommands(program: Command, common: () => readonly Option[]): void {
  const runtime = program
    .command('runtime')
    .description('what a Mendix runtime on this host does: requests, sessions, statistics, log levels')
    .addHelpText(
      'after',
      `
Asks the runtime through its admin port, which listens on the loopback interface of its host, so run it there. The agent
keeps the port and the password in its state folder, where only its user can read them.`,
    );
  const add = (name: string, description: string): Command => {
    const command = runtime
      .command(name)
      .description(description)
      .argument('<instance>', 'the name of the instance, such as claims-1')
      .option(
        '--state <folder>',
        'where the agent keeps its records; left out: .holdfast beside the configuration file',
      );
    for (const option of common()) command.addOption(option);
    return command;
  };
  add('requests', 'requests that are being worked on, the longest first').action(requestsCommand);
  add('sessions', 'users who are logged in, and how many sessions there are').action(sessionsCommand);
  add('statistics', 'requests, sessions, statements and memory since the start').action(statisticsCommand);
  add('loglevel', 'show the levels of the log nodes, or set one')
    .argument('[node]', 'the log node to set, such as ConnectionBus')
    .argument('[level]', `the level: ${logLevels.join(', ')}`)
    .option('--subscriber <name>', 'of which log subscriber', 'HoldfastSubscriber')
    .addHelpText('after', '\nA level that was set lasts until the runtime is started again.')
    .action(logLevelCommand);
}

async function requestsCommand(instance: string, options: RuntimeOptions): Promise<void> {
  const requests = await (await clientFor(instance, options)).call('get_current_runtime_requests');
  print(requests, requestLines(requests), options);
}

async function sessionsCommand(instance: string, options: RuntimeOptions): Promise<void> {
  const client = await clientFor(instance, options);
  const [users, { sessions }] = [
    await client.call('get_logged_in_user_names', { limit: userLimit }),
    await client.call('runtime_statistics'),
  ];
  print({ ...users, sessions }, sessionLines(users, sessions), options);
}

async function statisticsCommand(instance: string, options: RuntimeOptions): Promise<void> {
  const client = await clientFor(instance, options);
  const [runtime, server] = [await client.call('runtime_statistics'), await client.call('server_statistics')];
  print({ runtime, server }, statisticsLines(runtime, server), options);
}

async function logLevelCommand(
  instance: string,
  node: string | undefined,
  level: string | undefined,
  options: RuntimeOptions & { readonly subscriber: string },
): Promise<void> {
  const client = await clientFor(instance, options);
  const { subscriber } = options;
  if (node !== undefined)
    await client.call('set_log_level', { subscriber, nodes: [{ name: node, level: levelOf(level) }] });
  const settings = (await client.call('get_log_settings', { sort: 'subscriber' }))[subscriber] ?? {};
  const lines = Object.entries(settings).map(([name, one]) => `${name}  ${one}`);
  print(settings, lines.length > 0 ? lines : ['every log node has the level of its subscriber'], options);
}

function levelOf(text: string | undefined): LogLevel {
  const level = logLevels.find((one) => one === text?.toUpperCase());
  if (level) return level;
  throw new HoldfastError(
    'USAGE',
    text === undefined ? 'The level is missing.' : `${text} is no log level.`,
    {
      remedy: `It is one of ${logLevels.join(', ')}.`,
    },
  );
}

async function clientFor(instance: string, { config, state }: RuntimeOptions): Promise<AdminClient> {
  const file = adminFileOf(state ?? stateFolderOf(config), instance);
  try {
    return new AdminClient(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    const isAbsent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new HoldfastError(
      'NOT_RUNNING',
      isAbsent
        ? `No Mendix runtime with the name ${instance} runs here under an agent.`
        : `${file} cannot be read: ${(error as Error).message}`,
      {
        remedy:
          'Ask on the host of the instance, as the user of its agent; its state folder can be named with --state.',
      },
    );
  }
}

function print(value: unknown, lines: readonly string[], { json }: RuntimeOptions): void {
  if (json) printJson(value);
  else process.stdout.write(`${lines.join('\n')}\n`);
}

#!/usr/bin/env node
/** The commands. Each lives in a file of its own; this one only knows their names, options and help. */
import { Command, CommanderError, Option } from 'commander';
import { HoldfastError } from '../support/errors.ts';
import { agentCommand } from './agent.ts';
import { balancerCommand } from './balancer.ts';
import { registerDoctorCommand } from './doctor.ts';
import { registerEventCommands } from './events-registration.ts';
import { initCommand } from './init.ts';
import { failWith, version } from './output.ts';
import { registerRuntimeCommands } from './runtime.ts';
import { sessionsListCommand, sessionsRevokeCommand } from './sessions.ts';
import { statusCommand } from './status.ts';
import { upCommand } from './up.ts';

const program = new Command('holdfast')
  .description('High availability for web applications that were never built for a cluster.')
  .version(version())
  .showSuggestionAfterError()
  .configureHelp({ showGlobalOptions: true })
  .exitOverride()
  .addHelpText(
    'after',
    `
To begin:
  holdfast init      look at this folder and write a commented holdfast.yaml
  holdfast up        run the whole cluster on this machine
  holdfast status    see what runs where

On hosts of their own, with one PostgreSQL for all:
  holdfast agent --instance shop-1 --database postgres://…
  holdfast balancer --database postgres://…

Exit codes: 0 fine, 1 found or failed, 2 wrong usage. NO_COLOR is kept.`,
  );

const configOption = () =>
  new Option('-c, --config <file>', 'the configuration file').default('holdfast.yaml');
const databaseOption = () =>
  new Option(
    '--database <url>',
    'the arbiter; left out: HOLDFAST_DATABASE, then what the configuration file says, then the embedded one beside it',
  );
const jsonOption = () => new Option('--json', 'print JSON, for scripts');
const stateOption = () =>
  new Option('--state <folder>', 'where this host keeps its records; a local disk').default('.holdfast');

program
  .command('init')
  .description('write a commented holdfast.yaml for the application in this folder')
  .argument('[folder]', 'the folder of the application', '.')
  .option(
    '--m2ee <files...>',
    'make it from these m2ee.yaml files of a Mendix runtime, in the order in which m2ee reads them',
  )
  .addOption(jsonOption())
  .addHelpText(
    'after',
    `
With --m2ee the files are merged as m2ee-tools merges them, the section \`mxruntime\` becomes \`app.settings\`, secrets
become files in ./secrets, and everything that is not taken over, or that the files do in silence, is said. Where the
folder has an m2ee.yaml, that is what \`init\` does.`,
  )
  .action(initCommand);

program
  .command('up')
  .description('run the whole cluster on this machine; Ctrl-C stops it')
  .addOption(configOption())
  .addOption(new Option('--json', 'print one JSON object for each thing that happens, for scripts'))
  .addHelpText(
    'after',
    `
Starts a PostgreSQL (unless the file names one), an agent for each instance and a balancer, each a process of its
own, and starts again whichever of them ends. Logs are in .holdfast/logs beside the file. A second \`up\` in the same
folder is refused.`,
  )
  .action(upCommand);

program
  .command('agent')
  .description('run one instance and keep its lease')
  .requiredOption('--instance <name>', 'which instance of the configuration')
  .addOption(configOption())
  .addOption(databaseOption())
  .addOption(stateOption())
  .option('--advertise <address>', 'the address at which balancers reach the instance; left out: found out')
  .option('--directory <folder>', 'what relative paths of the configuration start from', '.')
  .addHelpText(
    'after',
    `
SIGTERM stops with a drain, SIGINT without. The log is JSON lines on standard output.`,
  )
  .action(agentCommand);

program
  .command('balancer')
  .description('carry the traffic to the instances')
  .addOption(configOption())
  .addOption(databaseOption())
  .addOption(stateOption())
  .option('--name <name>', 'unique among the balancers; left out: host name and port')
  .option('--listen <address>', 'instead of `balancer.listen` of the configuration')
  .option('--self-signed', 'serve https with a certificate made for the purpose, instead of `balancer.tls`')
  .option(
    '--print-config',
    'write the haproxy.cfg that this configuration means, and what it refers to, print it, and start nothing',
  )
  .addOption(new Option('--kept', 'this process was started by the one that keeps the sockets').hideHelp())
  .addHelpText(
    'after',
    `
SIGHUP starts another balancer process, with the program and the configuration of that moment, which takes over
the port while the old one finishes its connections: nobody is refused. SIGTERM and SIGINT stop.`,
  )
  .action(balancerCommand);

program
  .command('status')
  .description('show instances, leases, balancers, events and what the arbiter can promise')
  .addOption(configOption())
  .addOption(databaseOption())
  .addOption(jsonOption())
  .option('--watch', 'show it again each second until Ctrl-C')
  .addHelpText('after', '\nExit code 0 when every instance is up and a balancer is there, else 1.')
  .action(statusCommand);

registerEventCommands(program, () => [configOption(), databaseOption(), jsonOption()]);
registerDoctorCommand(program, () => [configOption(), databaseOption(), jsonOption()]);

registerRuntimeCommands(program, () => [configOption(), jsonOption()]);

const sessions = program.command('sessions').description("users' sessions");
sessions
  .command('list')
  .description('list sessions, the most recently used first')
  .option('--user <user>', 'only those of one user')
  .addOption(configOption())
  .addOption(databaseOption())
  .addOption(jsonOption())
  .action(sessionsListCommand);
sessions
  .command('revoke')
  .description('end sessions: all of one user, or one by its id as `sessions list` shows it')
  .option('--user <user>', 'all sessions of this user')
  .option('--id <id>', 'one session')
  .addOption(configOption())
  .addOption(databaseOption())
  .addOption(jsonOption())
  .action(sessionsRevokeCommand);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else if (error instanceof HoldfastError) failWith(error);
  else throw error;
}

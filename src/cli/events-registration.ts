/** Names, options and help of the commands for scheduled events. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { occurrenceFilters } from '../events/administration.ts';
import { parseDuration } from '../support/duration.ts';
import {
  eventsListCommand,
  eventsPauseCommand,
  eventsPreviewCommand,
  eventsResumeCommand,
  eventsRunsCommand,
} from './events.ts';
import { eventsTriggerCommand } from './events-trigger.ts';

/** The options that every command has. */
type Shared = () => readonly Option[];

const nameArgument = () => new Argument('<name>', 'the event, as the configuration names it');
const allOption = () => new Option('--all', 'also the built-in events, whose names begin with holdfast-');
const byOption = () => new Option('--by <name>', 'who asks for it; left out: user@host');

export function registerEventCommands(program: Command, shared: Shared): void {
  const events = program
    .command('events')
    .description('scheduled events')
    .addHelpText(
      'after',
      `
On a bad night:
  holdfast events list                              what runs, what waits, what is overdue
  holdfast events runs --since 1d --outcome failed  what went wrong, where, and why
  holdfast events pause nightly-invoices --reason "wrong tax rate"
  holdfast events trigger nightly-invoices --wait   run it now and see it through`,
    );
  for (const command of [list(), runs(), preview(), trigger(), pause(), resume()]) {
    for (const option of shared()) command.addOption(option);
    events.addCommand(command.copyInheritedSettings(events));
  }
}

function list(): Command {
  return new Command('list')
    .description('all events: when and where they run, how they ended last, when they are due next')
    .addOption(allOption())
    .addHelpText(
      'after',
      `
"next" is in the time zone of the event. "overdue" means that something is due and no agent takes it.

  holdfast events list --json | jq -r '.[] | select(.state == "overdue") | .event'`,
    )
    .action(eventsListCommand);
}

function runs(): Command {
  return new Command('runs')
    .description('the ledger: what became of every due moment, what is under way first, then the latest')
    .argument('[name]', 'only this event, also one that the configuration no longer has')
    .addOption(
      new Option('--outcome <outcome>', 'only what ended so, or has not ended').choices(occurrenceFilters),
    )
    .option('--since <span>', 'only what ended since then: a span such as 6h or 1d, or a date (UTC)')
    .addOption(new Option('--limit <n>', 'how many at most').argParser(wholeNumber(1, 10_000)).default(20))
    .option('--attempts', 'a line for each attempt even where there was one, with what it answered')
    .addOption(allOption())
    .addHelpText(
      'after',
      `
Every due moment ends as one of
  succeeded   one of its attempts did
  failed      its attempts did not, and no further one is allowed
  skipped     the one before it still ran, or the event was paused
  missed      nothing could run it in time; moments missed in a row are one line
  abandoned   the instance that ran it was lost, and the event says not to run it again

  holdfast events runs nightly-invoices --outcome failed --since 7d --attempts`,
    )
    .action(eventsRunsCommand);
}

function preview(): Command {
  return new Command('preview')
    .description('when an event is due, in its time zone and in UTC, with the changes of the clocks marked')
    .addArgument(nameArgument())
    .addOption(new Option('--count <n>', 'how many moments').argParser(wholeNumber(1, 10_000)).default(10))
    .option('--from <date>', 'begin there instead of now; a date or date-time in the zone of the event')
    .option('--offline', 'as the configuration file says, without asking an arbiter')
    .addHelpText(
      'after',
      `
Shows what is in force; with --offline, or where no arbiter answers, what the configuration file says.

  holdfast events preview nightly-invoices --from 2027-03-27 --count 3
  holdfast events preview nightly-invoices --offline -c changed.yaml`,
    )
    .action(eventsPreviewCommand);
}

function trigger(): Command {
  return new Command('trigger')
    .description('run an event now, also while it is paused; its schedule goes on as it is')
    .addArgument(nameArgument())
    .addOption(
      new Option('--payload <json>', 'given to the run instead of the one of the configuration').argParser(
        json,
      ),
    )
    .addOption(byOption())
    .option('--wait', 'follow it until it ends')
    .addOption(
      new Option('--timeout <span>', 'with --wait: stop waiting after this; the run goes on').argParser(
        duration,
      ),
    )
    .addHelpText(
      'after',
      `
While the previous one runs it waits in line, unless the event says \`overlap: allow\`.
Exit code with --wait: 0 when it succeeded (on each instance, where it runs on each), else 1.

  holdfast events trigger nightly-invoices --payload '{"month": "2027-01"}' --wait --timeout 15m`,
    )
    .action(eventsTriggerCommand);
}

function pause(): Command {
  return new Command('pause')
    .description('let an event rest: what is due is recorded as skipped, what runs goes on')
    .addArgument(nameArgument())
    .requiredOption('--reason <text>', 'for those who find it paused')
    .addOption(byOption())
    .addHelpText(
      'after',
      `
It stays paused, through restarts and new revisions, until somebody resumes it. \`events list\` and \`status\` show it.

  holdfast events pause nightly-invoices --reason "wrong tax rate, see the incident of today"`,
    )
    .action(eventsPauseCommand);
}

function resume(): Command {
  return new Command('resume')
    .description('end the rest of an event: its next due moment runs again')
    .addArgument(nameArgument())
    .addHelpText(
      'after',
      `
What was due meanwhile stays skipped; \`events trigger\` runs it once by hand.

  holdfast events resume nightly-invoices`,
    )
    .action(eventsResumeCommand);
}

function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a number from ${least} to ${most}.`);
  };
}

function duration(text: string): number {
  const value = parseDuration(text);
  if (value === undefined) throw new InvalidArgumentError('Expected a span such as 30s, 10m or 2h.');
  return value;
}

/** Wrapped, as null is a payload too. */
function json(text: string): { value: unknown } {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    throw new InvalidArgumentError(
      `Expected JSON, such as '{"month": "2027-01"}': ${(error as Error).message}.`,
    );
  }
}

/**
 * The sections `ledger`, `alarm` and `fence`: what is remembered of the events that ran, who is told when one went
 * wrong, and what stops an instance that nobody hears any more before another one does its work.
 */
import { z } from 'zod';
import { commandLine, duration, secretReference, text, webhookUrl } from './values.ts';

const hour = 3_600_000;
const day = 24 * hour;

export const ledgerSchema = z
  .strictObject({
    keep: duration(hour, 3_650 * day)
      .prefault('30d')
      .describe('How long finished occurrences and their runs are kept.'),
  })
  .prefault({})
  .describe('The record of every occurrence of every event, and of its runs.');

export const alarmOutcomes = ['failed', 'missed', 'abandoned'] as const;

export const alarmSchema = z
  .strictObject({
    on: z
      .array(z.enum(alarmOutcomes, { error: 'expected failed, missed or abandoned' }), {
        error: 'expected a list of failed, missed and abandoned',
      })
      .min(1, { error: 'expected at least one of failed, missed and abandoned' })
      .default([...alarmOutcomes])
      .describe('Outcomes of which the alarm tells.'),
    post: webhookUrl.optional().describe('Address to which the alarm is posted.'),
    command: commandLine
      .optional()
      .describe(
        'Command that is started instead, run by `sh -c`. The alarm is in HOLDFAST_ALARM, as the JSON that `post` sends.',
      ),
    secret: secretReference
      .optional()
      .describe('Sent with `post` as bearer token: `{file: PATH}` or `{env: NAME}`.'),
  })
  .superRefine(({ post, command, secret }, context) => {
    const problem = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
    if (post === undefined && command === undefined)
      problem(['post'], 'expected where the alarm goes: post: URL or command: COMMAND');
    if (post !== undefined && command !== undefined)
      problem(['command'], 'an alarm goes to one place, and this one has two: post, command');
    if (secret !== undefined && post === undefined && command !== undefined)
      problem(['secret'], 'a secret is sent with `post` only: a command finds its own');
  })
  .optional()
  .describe('Who is told of an event that failed, was missed or was abandoned. Left out: nobody.');

const timeout = duration(100, hour).prefault('30s').describe('A fence that takes longer has failed.');

const instancePlace = '{instance}';

const role = text(
  'expected the name of a database role, such as "shop_{instance}", of letters, digits, _, - and {instance}',
  /^(?:[A-Za-z0-9_-]|\{instance\})+$/,
).refine((value) => value.includes(instancePlace), {
  error:
    'expected a name that contains {instance}: one role for all of them would lock out every instance when one is lost',
  abort: true,
});

const fenceCommand = commandLine.refine((value) => !value.includes(instancePlace), {
  error:
    'expected $HOLDFAST_LOST_INSTANCE for the name of the lost instance: {instance} is not replaced in a command',
});

export const fenceSchema = z
  .union(
    [
      z.strictObject({
        command: fenceCommand.describe(
          "Command that must exit with 0 when the lost instance can do no more, such as one that switches its machine off. The instance's name is in HOLDFAST_LOST_INSTANCE.",
        ),
        timeout,
      }),
      z.strictObject({
        role: role.describe(
          "PostgreSQL role with which only that instance connects: it loses its login and its connections. `{instance}` is replaced by the instance's name and must be there.",
        ),
        timeout,
      }),
    ],
    { error: 'expected {command: COMMAND} or {role: ROLE}' },
  )
  .optional()
  .describe(
    'What is done to an instance that was declared lost, before its events are run elsewhere. Left out: nothing, its lease alone tells it to stop.',
  );

const longestRole = 63;

/** PostgreSQL cuts longer names off, and so two instances could have the same role. */
export function roleProblem(pattern: string, instances: readonly string[]): string | undefined {
  const long = instances.find((one) => pattern.replaceAll(instancePlace, one).length > longestRole);
  if (long === undefined) return undefined;
  return `the role of the instance "${long}" is longer than the ${longestRole} characters that PostgreSQL keeps of a name`;
}

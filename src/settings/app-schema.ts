/** The section `app`: what is run, how many of it, how it is watched and how it is stopped. */
import { z } from 'zod';
import { mendixSchema } from './mendix-schema.ts';
import {
  commandLine,
  duration,
  flag,
  folder,
  instanceUrl,
  listenAddress,
  name,
  publicUrl,
  regularExpression,
  requestPath,
  secretReference,
  statusRange,
  text,
  wholeNumber,
} from './values.ts';

const hour = 3_600_000;

const health = z
  .strictObject({
    path: requestPath
      .prefault('/')
      .describe('Path that is asked. An answer within the time-out that is as expected is healthy.'),
    expect: z
      .strictObject({
        status: statusRange
          .prefault('200-399')
          .describe('Status of a good answer: one such as `200`, or a range such as `200-299`.'),
        body: regularExpression
          .optional()
          .describe(
            'Regular expression that the beginning of the body must match. Left out: the body does not matter.',
          ),
      })
      .prefault({})
      .describe('What a good answer is.'),
    every: duration(50, hour).prefault('1s').describe('Time between two checks.'),
    timeout: duration(10, hour)
      .prefault('500ms')
      .describe('An answer that takes longer counts as none. This is what finds a frozen instance.'),
    unhealthyAfter: wholeNumber(1, 100).default(2).describe('Failed checks in a row that make it unhealthy.'),
    healthyAfter: wholeNumber(1, 100).default(2).describe('Good checks in a row that make it healthy again.'),
    startWithin: duration(100, hour)
      .prefault('60s')
      .describe('An instance that is not healthy this long after its start is started again.'),
    restartAfter: z
      .union([z.literal('never'), duration(100, hour)], {
        error: 'expected a duration such as 30s, or never',
      })
      .prefault('30s')
      .describe('An instance that was healthy and has been unhealthy this long is restarted; or `never`.'),
    requireLease: flag
      .default(false)
      .describe(
        'Report the instance as unavailable to foreign balancers while its agent cannot prove its lease.',
      ),
    listen: listenAddress
      .prefault('127.0.0.1:0')
      .describe(
        "Where the agent serves its own page `/health`, for balancers that are not Holdfast's. Port 0: a free one.",
      ),
  })
  .prefault({})
  .describe('How an instance is watched.');

const stop = z
  .strictObject({
    drain: duration(0, 24 * hour)
      .prefault('30s')
      .describe('How long requests that are under way may take to end.'),
    kill: duration(0, hour)
      .prefault('10s')
      .describe('How long the process has to end after SIGTERM before it is killed.'),
  })
  .prefault({})
  .describe('How an instance is stopped.');

const restart = z
  .strictObject({
    backoff: duration(10, hour)
      .prefault('500ms')
      .describe('Pause before the second restart; it doubles from there. The first restart is immediate.'),
    maxBackoff: duration(10, hour).prefault('30s').describe('The longest pause before a restart.'),
    settledAfter: duration(100, 24 * hour)
      .prefault('30s')
      .describe('After having been healthy this long, earlier crashes are forgotten.'),
    crashLoop: z
      .strictObject({
        exits: wholeNumber(2, 1_000).default(5).describe('So many crashes …'),
        within: duration(1_000, 24 * hour)
          .prefault('60s')
          .describe('… within so much time.'),
      })
      .prefault({})
      .describe('What is reported as a crash loop. The restarts go on.'),
  })
  .prefault({})
  .refine((value) => value.maxBackoff >= value.backoff, {
    path: ['maxBackoff'],
    error: 'expected a duration that is at least `backoff`',
  })
  .describe('How a crashed instance is started again.');

const instance = z.union(
  [
    name,
    z.strictObject({
      name: name.describe('Name of the instance.'),
      url: instanceUrl.describe('Where it is reached.'),
    }),
  ],
  { error: 'expected the name of an instance, or {name, url}' },
);

const instances = z
  .union([wholeNumber(1, 100), z.array(instance).min(1, { error: 'expected at least one instance' })], {
    error: 'expected a number of instances, or a list of their names',
  })
  .default(2)
  .describe(
    'How many instances (they are named CLUSTER-1, CLUSTER-2, …), or a list of their names. With `platform: external` a list of `{name, url}`.',
  );

const environmentValue = z.union([z.string(), z.number(), z.boolean(), secretReference], {
  error: 'expected a text, a number, true or false, or a reference to a secret, {file: PATH} or {env: NAME}',
});

const environmentName = text(
  'expected the name of an environment variable (letters, digits and underscores)',
  /^[A-Za-z_][A-Za-z0-9_]*$/,
).refine((value) => value !== 'PORT' && !value.startsWith('HOLDFAST_'), {
  error: 'expected another name: PORT and HOLDFAST_… are given to the instance by its agent',
});

const app = z.strictObject({
  platform: z
    .enum(['process', 'mendix', 'external'], { error: 'expected process, mendix or external' })
    .default('process')
    .describe(
      '`process`: a command. `mendix`: a Mendix runtime. `external`: somebody else runs it; it is only watched.',
    ),
  command: commandLine
    .optional()
    .describe(
      'Command that starts one instance, run by `sh -c`. It is to listen on the port in the variable PORT.',
    ),
  workingDirectory: folder
    .optional()
    .describe('Folder in which the command runs. Left out: the folder of the configuration file.'),
  instances,
  port: wholeNumber(1, 65_535)
    .optional()
    .describe(
      'Port of an instance, given in PORT. Several on one machine take this one and the following. Left out: a free one.',
    ),
  url: publicUrl.optional().describe('The address that users open. It is the same for every instance.'),
  health,
  stop,
  restart,
  environment: z
    .record(environmentName, environmentValue)
    .default({})
    .describe(
      'Environment variables of the instances. A secret is a reference: `{file: PATH}` or `{env: NAME}`.',
    ),
  settings: z
    .record(z.string(), z.unknown())
    .default({})
    .describe(
      'Settings of the application itself, for platforms that have them: with `mendix` the custom runtime settings. A secret is a reference: `{file: PATH}` or `{env: NAME}`.',
    ),
  mendix: mendixSchema.optional(),
});

type App = z.output<typeof app>;

export const appSchema = app.superRefine((value, context) => {
  const problem = (path: (string | number)[], message: string) =>
    context.addIssue({ code: 'custom', path, message });
  const external = value.platform === 'external';
  if (value.platform === 'process' && value.command === undefined) {
    problem(['command'], 'expected the command that starts an instance, as `platform` is process');
  }
  if (value.platform === 'mendix' && value.mendix === undefined) {
    problem(['mendix'], 'expected at least {appBase: FOLDER}, as `platform` is mendix');
  }
  if (value.platform !== 'mendix' && value.mendix !== undefined) {
    problem(['mendix'], 'this section belongs to `platform: mendix`');
  }
  if (external && value.command !== undefined) {
    problem(['command'], 'there is nothing to start with `platform: external`: leave out the command');
  }
  if (external && !Array.isArray(value.instances)) {
    problem(['instances'], 'expected a list of {name, url}, as `platform` is external');
  }
  for (const { path, message } of instanceProblems(value.instances, external))
    problem(['instances', ...path], message);
});

function instanceProblems(
  list: App['instances'],
  external: boolean,
): { path: (string | number)[]; message: string }[] {
  if (!Array.isArray(list)) return [];
  const seen = new Set<string>();
  return list.flatMap((one, index) => {
    const found = [];
    const instanceName = typeof one === 'string' ? one : one.name;
    if (seen.has(instanceName))
      found.push({ path: [index], message: `the instance "${instanceName}" stands here twice` });
    seen.add(instanceName);
    if (external && typeof one === 'string') {
      found.push({ path: [index], message: 'expected {name, url}, as `platform` is external' });
    }
    if (!external && typeof one !== 'string') {
      found.push({
        path: [index, 'url'],
        message: 'only instances of `platform: external` have a url: write just the name',
      });
    }
    return found;
  });
}

/**
 * The grammar of holdfast.yaml, in the form in which people write it. Everything else is made from this one
 * definition: the errors, the JSON Schema for editors, the reference in docs/configuration.md and, by resolve.ts, the
 * Configuration that the code works with.
 */
import { z } from 'zod';
import { settingProblems } from '../platform/mendix/runtime-settings.ts';
import { formatDuration } from '../support/duration.ts';
import { appSchema } from './app-schema.ts';
import { balancerSchema, weightProblems } from './balancer-schema.ts';
import { eventsSchema } from './events-schema.ts';
import { alarmSchema, fenceSchema, ledgerSchema, roleProblem } from './safeguards-schema.ts';
import { databaseUrl, duration, endpointUrl, flag, folder, name, secretReference, text } from './values.ts';

const hour = 3_600_000;
const day = 24 * hour;

const database = z.union(
  [
    databaseUrl,
    z
      .strictObject({
        url: databaseUrl.describe('Address of the database, without a password.'),
        password: secretReference
          .optional()
          .describe('Where its password is found: `{file: PATH}` or `{env: NAME}`.'),
      })
      .refine(({ url, password }) => password === undefined || /^\w+:\/\/[^:@/]+@/.test(url), {
        path: ['url'],
        error: 'expected an address with a user and without a password, as `password` stands beside it',
      }),
  ],
  { error: 'expected a PostgreSQL address such as postgres://holdfast@db1,db2/shop, or {url, password}' },
);

const sessions = z
  .strictObject({
    idle: duration(1_000, 3_650 * day)
      .prefault('30m')
      .describe('A session ends when it was not used for this long.'),
    absolute: duration(1_000, 3_650 * day)
      .prefault('7d')
      .describe('A session ends this long after it began.'),
    away: z
      .enum(['fail', 'readonly', 'defer'], { error: 'expected fail, readonly or defer' })
      .default('readonly')
      .describe(
        'While the database is away: `fail` every use, serve known sessions `readonly`, or `defer` changes until it is back.',
      ),
    encryptionKey: secretReference
      .optional()
      .describe('Key with which session data is encrypted in the database: `{file: PATH}` or `{env: NAME}`.'),
  })
  .prefault({})
  .refine((value) => value.idle <= value.absolute, {
    path: ['absolute'],
    error: 'expected a duration that is at least `idle`',
  })
  .describe('Sessions of users.');

const files = z
  .union(
    [
      z.strictObject({ directory: folder.describe('Folder that every host sees, such as a network mount.') }),
      z.strictObject({
        s3: z
          .strictObject({
            bucket: text('expected the name of a bucket', /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/).describe(
              'Bucket.',
            ),
            endpoint: endpointUrl.optional().describe('Server, where it is not Amazon.'),
            region: text('expected a region').default('us-east-1').describe('Region.'),
            prefix: z
              .string({ error: 'expected a text' })
              .default('')
              .describe('What every key begins with.'),
            forcePathStyle: flag
              .default(false)
              .describe('Name the bucket in the path, as MinIO and others want it.'),
            accessKeyId: secretReference.optional().describe('Key id. Left out: what the host provides.'),
            secretAccessKey: secretReference
              .optional()
              .describe('Secret key. Left out: what the host provides.'),
          })
          .describe('A bucket of an S3-compatible server.'),
      }),
    ],
    { error: 'expected {directory: PATH} or {s3: {bucket, …}}' },
  )
  .optional()
  .describe('Where the files of users are kept, so that every instance sees them.');

const lease = z
  .strictObject({
    ttl: duration(1_000, hour)
      .prefault('5s')
      .describe(
        'How long an agent may act after its last heartbeat. A silent one is declared lost after this.',
      ),
    heartbeat: duration(50, hour)
      .prefault('1s')
      .describe('Time between two heartbeats, at most a third of `ttl`.'),
  })
  .prefault({})
  .superRefine(({ ttl, heartbeat }, context) => {
    if (heartbeat <= ttl / 3) return;
    const message = `${formatDuration(heartbeat)} is more than a third of ttl (${formatDuration(ttl)}): two heartbeats must be able to fail before the lease runs out`;
    context.addIssue({ code: 'custom', path: ['heartbeat'], message });
  })
  .describe('The lease by which an agent proves that it lives.');

export const configurationSchema = z
  .strictObject(
    {
      cluster: name.describe('Name of the cluster. Instances are named after it.'),
      database: database
        .optional()
        .describe(
          'The PostgreSQL that keeps leases, sessions and events: an address or `{url, password}`. Left out: an embedded one beside this file, for one machine.',
        ),
      app: appSchema.describe('The application.'),
      balancer: balancerSchema,
      sessions,
      files,
      lease,
      events: eventsSchema,
      ledger: ledgerSchema,
      alarm: alarmSchema,
      fence: fenceSchema,
    },
    { error: 'expected a map with the keys cluster and app' },
  )
  .superRefine((value, context) => {
    const known = instanceNames(value.cluster, value.app.instances);
    for (const [event, { on }] of Object.entries(value.events)) {
      if (typeof on === 'string' || known.includes(on.prefer)) continue;
      const message = `"${on.prefer}" is no instance of this cluster (${known.join(', ')})`;
      context.addIssue({ code: 'custom', path: ['events', event, 'on', 'prefer'], message });
    }
    for (const { key, message } of mendixProblems(value))
      context.addIssue({ code: 'custom', path: ['app', 'settings', key], message });
    for (const { path, message } of weightProblems(value.balancer.weights, known))
      context.addIssue({ code: 'custom', path: ['balancer', ...path], message });
    const message = value.fence && 'role' in value.fence ? roleProblem(value.fence.role, known) : undefined;
    if (message !== undefined) context.addIssue({ code: 'custom', path: ['fence', 'role'], message });
  });

/** What comes out of the grammar: durations are milliseconds, defaults are filled in, the shape is still the file's. */
export type ParsedInput = z.output<typeof configurationSchema>;

export function instanceNames(cluster: string, instances: ParsedInput['app']['instances']): string[] {
  if (typeof instances === 'number')
    return Array.from({ length: instances }, (_, index) => `${cluster}-${index + 1}`);
  return instances.map((one) => (typeof one === 'string' ? one : one.name));
}

/** Settings of the application that contradict what high availability needs. */
function mendixProblems({ cluster, app, files }: Pick<ParsedInput, 'cluster' | 'app' | 'files'>) {
  if (app.platform !== 'mendix') return [];
  return settingProblems({
    settings: app.settings,
    appUrl: app.url,
    filesKind: files === undefined ? undefined : 'directory' in files ? 'directory' : 's3',
    instances: instanceNames(cluster, app.instances).length,
    scheduledEvents: app.mendix?.scheduledEvents,
  });
}

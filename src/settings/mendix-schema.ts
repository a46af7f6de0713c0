/** The section `app.mendix`: where a Mendix application and its runtime are, and how it is started and judged. */
import { z } from 'zod';
import { logLevels } from '../platform/mendix/admin-actions.ts';
import { flag, folder, secretReference, text, wholeNumber } from './values.ts';

const words = z.array(text('expected a text'), { error: 'expected a list of texts' });
const anything = z.record(z.string(), z.unknown());

export const mendixSchema = z
  .strictObject({
    appBase: folder.describe(
      'Folder of the application, with `model`, `web` and `data`. `{instance}` in it stands for the name of the instance, where several share a machine.',
    ),
    runtimes: z
      .array(folder, { error: 'expected a list of folders' })
      .default([])
      .describe(
        'Folders with Mendix runtimes, one subfolder per version. `runtimes` in `appBase` is searched first.',
      ),
    java: z
      .union([text('expected the path of the program'), words.min(1)], {
        error: 'expected the path of the program, or a list that begins with it',
      })
      .default('java')
      .describe('Program that runs Java. With its full path, as the runtime is given no PATH.'),
    javaOptions: words.default([]).describe('Options of the JVM, such as `-Xmx1G`.'),
    keepEnvironment: z
      .union([flag, words], { error: 'expected true, false or a list of names' })
      .default(false)
      .describe(
        "Which variables of the agent's environment the runtime gets: `true` all, `false` none, or a list of names. `app.environment` is added.",
      ),
    adminPort: wholeNumber(1, 65_535)
      .optional()
      .describe(
        'Admin port, on the loopback interface. Several on one machine take this one and the following. Left out: a free one.',
      ),
    adminPassword: secretReference
      .optional()
      .describe(
        'Admin password: `{file: PATH}` or `{env: NAME}`. Left out: a new random one for each start.',
      ),
    listen: text('expected addresses with commas between them, or *')
      .optional()
      .describe(
        'Where the runtime listens for users: `*`, or addresses with commas. Left out: on loopback if that is where the balancers find it, else on all addresses.',
      ),
    jetty: anything.default({}).describe("Options of the runtime's web server."),
    mimeTypes: z
      .record(z.string(), z.string())
      .default({})
      .describe('From file extension to type, for downloads.'),
    logging: z
      .array(
        z.looseObject({
          type: text('expected the kind of log subscriber, such as file').describe('`file`, `syslog`, …'),
          name: text('expected the name of the log subscriber').describe('Name, each its own.'),
          loglevel: z
            .record(z.string(), z.enum(logLevels, { error: `expected one of ${logLevels.join(', ')}` }))
            .optional()
            .describe('Levels of single log nodes.'),
        }),
        { error: 'expected a list of log subscribers' },
      )
      .default([])
      .describe(
        'Log subscribers beside the one through which Holdfast gets the log. Their other options are passed on.',
      ),
    sick: z
      .enum(['eject', 'warn'], { error: 'expected eject or warn' })
      .default('eject')
      .describe(
        'What happens when the health microflow finds something: `eject`: no users until it is well. `warn`: a warning.',
      ),
    scheduledEvents: z
      .enum(['designated', 'gate', 'post', 'runtime'], {
        error: 'expected designated, gate, post or runtime',
      })
      .optional()
      .describe(
        '`designated`: the leader alone runs the scheduled events of the model. `gate`: every instance would, and each microflow asks its agent first. `post`: none does, Holdfast calls at the due time. `runtime`: left to the task queue of Mendix 9.12 and later. Left out: `runtime` from 9.12 on, before it `designated` as `ScheduledEventExecution` says.',
      ),
  })
  .describe('For `platform: mendix`.');

/**
 * The `mendix` platform: a Mendix runtime, started, configured, watched and stopped through its admin port, which no
 * user needs to see. The JVM is held and recorded as every instance is (held-group.ts). The admin password is made
 * anew at each start, unless one is configured, and stands in no command line and no configuration.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Log } from '../../support/log.ts';
import { findFreePort } from '../free-port.ts';
import { type HeldGroup, startHeldGroup } from '../held-group.ts';
import type { Platform, StartSpec } from '../platform.ts';
import { type AdminAddress, AdminClient } from './admin-client.ts';
import { findApplication, javaCommand, type MendixApplication } from './application.ts';
import { type LogReceiver, receiveLog } from './log-receiver.ts';
import { MendixInstance } from './mendix-instance.ts';
import { type SharedFacts, settingsToSend } from './runtime-settings.ts';
import type { LogSubscriber, StartPlan } from './start-sequence.ts';

export interface MendixPlatformOptions extends SharedFacts {
  readonly appBase: string;
  /** Absolute: where runtimes are looked for. */
  readonly runtimes: readonly string[];
  /** The program and what comes before its options. */
  readonly java: readonly string[];
  readonly javaOptions: readonly string[];
  /** All of the agent's environment, none of it, or these variables. */
  readonly keepEnvironment: boolean | readonly string[];
  /** Undefined: a free one. */
  readonly adminPort: number | undefined;
  /** Undefined: a new one for each start. */
  readonly adminPassword: string | undefined;
  /** Where the runtime listens for users, as the runtime wants it: `*`, or addresses with commas. */
  readonly listenAddresses: string;
  readonly jetty: Readonly<Record<string, unknown>>;
  readonly mimeTypes: Readonly<Record<string, string>>;
  readonly logging: readonly LogSubscriber[];
  /** What a sick application means: no more users for it, or a warning. */
  readonly sick: 'eject' | 'warn';
  /** Where the address and the password of the admin port are written down, for commands on this host. */
  readonly adminFile: string;
  readonly log: Log;
}

export function mendixPlatform(options: MendixPlatformOptions): Platform {
  const { log, adminFile } = options;
  let lastAdminPort: number | undefined;
  return {
    async start(spec) {
      const application = await findApplication(options);
      const preferred = lastAdminPort === undefined ? {} : { preferred: lastAdminPort };
      const adminPort = options.adminPort ?? (await findFreePort(preferred));
      lastAdminPort = adminPort;
      const password = options.adminPassword ?? randomBytes(24).toString('base64url');
      const admin = { host: '127.0.0.1', port: adminPort, password };
      const receiver = await receiveLog(application.version, (line) => spec.onOutput(line));
      try {
        await writePrivate(adminFile, JSON.stringify(admin));
        const group = await startJvm(options, application, spec, admin);
        const instance = new MendixInstance({
          group,
          spec,
          address: { host: hostOf(options.listenAddresses), port: spec.address.port },
          receiver,
          adminPort,
          sick: options.sick,
          client: new AdminClient(admin),
          plan: planOf(options, application, spec, receiver),
          onEnd: () => rm(adminFile, { force: true }),
          log,
        });
        group.run();
        instance.bringUp();
        return instance;
      } catch (error) {
        await receiver?.close();
        throw error;
      }
    },
  };
}

/** The JVM at its gate: held and recorded, and not yet running. */
async function startJvm(
  options: MendixPlatformOptions,
  application: MendixApplication,
  spec: StartSpec,
  admin: AdminAddress,
): Promise<HeldGroup> {
  const command = await javaCommand(application, options);
  return startHeldGroup({
    command: `exec ${command.map(quoted).join(' ')}`,
    directory: '/',
    environment: {
      ...keptEnvironment(options.keepEnvironment, process.env),
      ...forApplication(spec.environment),
      M2EE_ADMIN_PORT: String(admin.port),
      M2EE_ADMIN_PASS: admin.password,
      M2EE_ADMIN_LISTEN_ADDRESSES: admin.host,
      M2EE_RUNTIME_LISTEN_ADDRESSES: options.listenAddresses,
      M2EE_RUNTIME_PORT: String(spec.address.port),
      ...(application.version.isAtLeast(7) ? { MX_INSTALL_PATH: application.installPath } : {}),
    },
    output: 'separate',
    log: options.log,
    // Called on the specification, which may be an object with a state of its own.
    beforeRun: async (pid) => spec.beforeRun?.(pid),
  });
}

function planOf(
  options: MendixPlatformOptions,
  application: MendixApplication,
  spec: StartSpec,
  receiver: LogReceiver | undefined,
): StartPlan {
  const told = new Set<string>();
  return {
    version: application.version,
    runtimePort: spec.address.port,
    listenAddresses: options.listenAddresses,
    jetty: options.jetty,
    mimeTypes: options.mimeTypes,
    subscribers: [...options.logging, ...(receiver ? [receiver.subscriber] : [])],
    settings(part) {
      const { settings, hints } = settingsToSend({ ...options, ...part, application });
      for (const hint of hints.filter((one) => !told.has(one))) {
        told.add(hint);
        options.log.warn({}, hint);
      }
      return settings;
    },
  };
}

/** Where the agent reaches what listens there. */
function hostOf(listenAddresses: string): string {
  const addresses = listenAddresses.split(',').map((address) => address.trim());
  return addresses.includes('*') || addresses.includes('127.0.0.1')
    ? '127.0.0.1'
    : (addresses[0] ?? '127.0.0.1');
}

/** The runtime has no use for the arbiter's address or for keys of sessions that are not its own. */
const notForApplication = ['HOLDFAST_DATABASE', 'HOLDFAST_SESSIONS', 'HOLDFAST_FILES'];

const forApplication = (environment: StartSpec['environment']): Record<string, string> =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !notForApplication.includes(name)));

function keptEnvironment(
  keep: boolean | readonly string[],
  own: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  if (keep === false) return {};
  return Object.fromEntries(
    Object.entries(own).filter((entry): entry is [string, string] => {
      const [name, value] = entry;
      const isWanted = keep === true ? !name.startsWith('HOLDFAST_') : keep.includes(name);
      return value !== undefined && isWanted;
    }),
  );
}

async function writePrivate(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await rm(file, { force: true }); // a new file has the mode that is asked for
  await writeFile(file, `${text}\n`, { mode: 0o600 });
}

/** For `/bin/sh`. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * The application on this host: its folder with the model, the runtime of the version that the model asks for, and the
 * command that starts it. The layout differs: from version 7 a launcher in a jar, in 5 and 6 an OSGi framework that
 * reads a file which is written from the runtime's own template before each start.
 */
import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '../../support/errors.ts';

export interface MendixApplication {
  readonly appBase: string;
  readonly version: MendixVersion;
  /** The folder of the runtime's version, which has a folder `runtime` in it. */
  readonly installPath: string;
  readonly modelVersion: string | undefined;
  /** The constants of the model with their default values. */
  readonly constants: Readonly<Record<string, unknown>>;
}

export class MendixVersion {
  readonly text: string;
  readonly #numbers: readonly number[];

  constructor(text: string) {
    this.text = text;
    this.#numbers = text.split('.').map(Number);
  }

  isAtLeast(major: number, minor = 0): boolean {
    const [ownMajor = 0, ownMinor = 0] = this.#numbers;
    return ownMajor > major || (ownMajor === major && ownMinor >= minor);
  }
}

/** Rejects with RUNTIME_MISSING. */
export async function findApplication(options: {
  readonly appBase: string;
  /** Searched in this order, after the application's own folder `runtimes`. */
  readonly runtimes: readonly string[];
}): Promise<MendixApplication> {
  const { appBase } = options;
  const file = join(appBase, 'model', 'metadata.json');
  const metadata = await readMetadata(file);
  const version = metadata.RuntimeVersion;
  if (typeof version !== 'string' || !/^\d+(\.\d+)+/.test(version))
    throw missing(
      `${file} does not say which RuntimeVersion the model needs.`,
      'Deploy the application again.',
    );
  const folders = [join(appBase, 'runtimes'), ...options.runtimes];
  for (const folder of folders) {
    const installPath = join(folder, version);
    if (!(await exists(join(installPath, 'runtime')))) continue;
    const constants = Array.isArray(metadata.Constants) ? (metadata.Constants as ModelConstant[]) : [];
    return {
      appBase,
      version: new MendixVersion(version),
      installPath,
      modelVersion: typeof metadata.ModelVersion === 'string' ? metadata.ModelVersion : undefined,
      constants: Object.fromEntries(constants.map(({ Name, DefaultValue }) => [Name, DefaultValue])),
    };
  }
  throw missing(
    `The model in ${appBase} needs Mendix runtime ${version}, which is in none of ${folders.join(', ')}.`,
    'Install that version there, or name the folder where it is under `app.mendix.runtimes`.',
  );
}

interface ModelConstant {
  readonly Name: string;
  readonly DefaultValue?: unknown;
}

/** The program and its arguments. For 5 and 6 it writes the file that the framework reads. */
export async function javaCommand(
  application: MendixApplication,
  { java, javaOptions }: { readonly java: readonly string[]; readonly javaOptions: readonly string[] },
): Promise<string[]> {
  const { appBase, version, installPath } = application;
  if (version.isAtLeast(7)) {
    const launcher = join(installPath, 'runtime/launcher/runtimelauncher.jar');
    return [...java, ...javaOptions, '-jar', launcher, appBase];
  }
  if (!version.isAtLeast(5))
    throw missing(
      `The model in ${appBase} needs Mendix ${version.text}.`,
      'Holdfast runs version 5 and later.',
    );
  const classPath = ['felix/bin/felix.jar', 'lib/com.mendix.xml-apis-1.4.1.jar'];
  return [
    ...java,
    ...javaOptions,
    '-cp',
    classPath.map((jar) => join(installPath, 'runtime', jar)).join(':'),
    `-Dfelix.config.properties=file:${await writeFelixConfiguration(application)}`,
    'org.apache.felix.main.Main',
  ];
}

async function writeFelixConfiguration({ appBase, installPath }: MendixApplication): Promise<string> {
  const template = join(installPath, 'runtime', 'felixconfig.properties.template');
  const target = join(appBase, 'model', 'felixconfig.properties');
  const values: Readonly<Record<string, string>> = {
    ProjectBundlesDir: join(appBase, 'model', 'bundles'),
    InstallDir: installPath,
    FrameworkStorage: join(appBase, 'data', 'tmp', 'felixcache'),
  };
  try {
    const text = await readFile(template, 'utf8');
    await writeFile(
      target,
      text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole),
    );
    return target;
  } catch (error) {
    throw missing(
      `${target} cannot be written from ${template}: ${(error as Error).message}`,
      'See that the runtime is whole, and that this user may write into the folder of the application.',
    );
  }
}

async function readMetadata(file: string): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    const isAbsent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw missing(
      `${file} ${isAbsent ? 'does not exist: no application is deployed there.' : `cannot be read: ${(error as Error).message}`}`,
      'Unpack a deployment archive into the folder that `app.mendix.appBase` names.',
    );
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const missing = (message: string, remedy: string): HoldfastError =>
  new HoldfastError('RUNTIME_MISSING', message, { remedy });

/**
 * Lays out on disk what an installation of Mendix consists of, with the stand-in in the place of the JVM: an application
 * folder with model, web and data, and a repository of runtimes with the launcher that the adapter looks for.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { Behaviour, Model } from './model.ts';

export interface StandInInstallation {
  readonly appBase: string;
  /** The command in the place of `java`. */
  readonly java: readonly string[];
  /** Replaces the model. */
  deploy(model: Partial<Model>): Promise<void>;
  /** From now on it behaves like this. */
  behave(behaviour: Behaviour): Promise<void>;
}

export async function installStandIn(
  folder: string,
  model: Partial<Model> = {},
  behaviour: Behaviour = {},
): Promise<StandInInstallation> {
  const appBase = join(folder, 'app');
  const version = model.RuntimeVersion ?? '9.6.0';
  const runtime = join(appBase, 'runtimes', version, 'runtime');
  for (const part of ['model', 'web', 'data/tmp', 'data/files'])
    await mkdir(join(appBase, part), { recursive: true });
  for (const part of ['launcher', 'felix/bin', 'lib']) await mkdir(join(runtime, part), { recursive: true });
  await writeFile(join(runtime, 'launcher', 'runtimelauncher.jar'), '');
  await writeFile(
    join(runtime, 'felixconfig.properties.template'),
    'bundles={ProjectBundlesDir}\ninstall={InstallDir}\nstorage={FrameworkStorage}\n',
  );
  const deploy = async (part: Partial<Model>): Promise<void> => {
    const whole = { RuntimeVersion: version, ModelVersion: '1', Constants: [], ScheduledEvents: [], ...part };
    await writeFile(join(appBase, 'model', 'metadata.json'), JSON.stringify(whole));
  };
  const behave = (next: Behaviour): Promise<void> =>
    writeFile(join(appBase, 'model', 'stand-in.json'), JSON.stringify(next));
  await deploy(model);
  await behave(behaviour);
  const program = join(import.meta.dirname, `main${extname(import.meta.filename)}`);
  return { appBase, java: [process.execPath, program], deploy, behave };
}

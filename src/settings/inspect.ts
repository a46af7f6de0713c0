/**
 * What kind of application is in a folder, and how would one start it? Each kind has one recognizer that looks at the
 * files which that kind always has. The first that is sure wins; a recognizer says what it saw, so that `init` can
 * tell the reason for every line it writes.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { HoldfastError } from '../support/errors.ts';
import { recognizers } from './recognizers.ts';

export interface Recognized {
  /** In words: `a Node.js application (fastify)`. */
  readonly application: string;
  readonly platform: 'process';
  readonly command: string | undefined;
  readonly healthPath: string | undefined;
  /** What was seen, and what follows from it. */
  readonly evidence: readonly string[];
  /** What a person should look at before relying on it. */
  readonly advice: readonly string[];
  /** A name that the files give the application. */
  readonly name?: string | undefined;
}

export interface Findings extends Recognized {
  /** For the cluster, made from the application's name or the folder's. */
  readonly cluster: string;
  /** False: nothing was recognized, and the command is a placeholder. */
  readonly recognized: boolean;
}

/** What a recognizer may look at: the names in the folder and the text of small files. */
export interface Folder {
  readonly names: readonly string[];
  /** The text of a file, or undefined where there is none or it cannot be read. */
  read(path: string): Promise<string | undefined>;
}

const maxCharacters = 262_144;

export async function inspectFolder(directory: string): Promise<Findings> {
  const root = resolve(directory);
  const folder: Folder = {
    names: await namesIn(root),
    read: (path) =>
      readFile(join(root, path), 'utf8').then(
        (text) => text.slice(0, maxCharacters),
        () => undefined,
      ),
  };
  for (const recognize of recognizers) {
    const recognized = await recognize(folder);
    if (recognized)
      return { ...recognized, recognized: true, cluster: clusterName(recognized.name, basename(root)) };
  }
  return {
    application: 'an application of unknown kind',
    platform: 'process',
    command: './start-the-application --port "$PORT"',
    healthPath: undefined,
    evidence: [
      'No package.json, Procfile, pom.xml, build.gradle, *.csproj, composer.json, *.jar or m2ee.yaml is here.',
    ],
    advice: ['Replace the command by the one that starts your application.'],
    recognized: false,
    cluster: clusterName(undefined, basename(root)),
  };
}

async function namesIn(root: string): Promise<string[]> {
  try {
    return (await readdir(root)).sort();
  } catch (cause) {
    throw new HoldfastError('USAGE', `${root} is no folder that can be read.`, { cause });
  }
}

export function clusterName(...candidates: (string | undefined)[]): string {
  for (const candidate of candidates) {
    const name = (candidate ?? '')
      .toLowerCase()
      .replace(/^@[^/]*\//, '')
      .replaceAll(/[^a-z0-9]+/g, '-')
      .replaceAll(/^-+|-+$/g, '')
      .slice(0, 40)
      .replace(/-+$/, '');
    if (name !== '') return name;
  }
  return 'app';
}

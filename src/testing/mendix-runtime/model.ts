/**
 * What the stand-in runs, read from its application folder: `model/metadata.json`, as in every deployment archive, and
 * `model/stand-in.json`, which says how it shall behave. The latter is read anew at every question, so a test makes a
 * running instance sick by writing a file.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Model {
  readonly RuntimeVersion: string;
  readonly ModelVersion: string;
  readonly Constants: readonly { readonly Name: string; readonly DefaultValue?: string }[];
  readonly ScheduledEvents: readonly { readonly Name: string }[];
}

export interface Behaviour {
  /** Interval of each scheduled event of the model. */
  readonly everyMs?: Readonly<Record<string, number>>;
  /** Scheduled events whose microflow asks its agent first, each with the name by which it asks. */
  readonly asks?: Readonly<Record<string, string>>;
  /** What brings the database from the structure before to this model's. */
  readonly ddl?: readonly string[];
  /** Pause before each of them, so that two who do it at once would be seen. */
  readonly ddlPauseMs?: number;
  /** Result code with which `start` refuses whatever else is right: 5, 10, 11, 12 or 13. */
  readonly startResult?: 5 | 10 | 11 | 12 | 13;
  /** How long `start` takes. */
  readonly startMs?: number;
  /** What the health microflow returns; left out: there is none. */
  readonly health?: 'healthy' | 'hangs' | { readonly sick: string };
  /** The JVM ends at once with this code. */
  readonly exitAtOnce?: number;
  /** `shutdown` and SIGTERM are not obeyed. */
  readonly staysAlive?: boolean;
  /** Critical lines that `echo` reports. */
  readonly criticalLog?: readonly string[];
}

export function readModel(appBase: string): Model {
  const metadata = JSON.parse(
    readFileSync(join(appBase, 'model', 'metadata.json'), 'utf8'),
  ) as Partial<Model>;
  return {
    RuntimeVersion: metadata.RuntimeVersion ?? '0.0.0',
    ModelVersion: metadata.ModelVersion ?? 'unversioned',
    Constants: metadata.Constants ?? [],
    ScheduledEvents: metadata.ScheduledEvents ?? [],
  };
}

export function readBehaviour(appBase: string): Behaviour {
  try {
    return JSON.parse(readFileSync(join(appBase, 'model', 'stand-in.json'), 'utf8')) as Behaviour;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
}

/** Is the version this one or a later one? */
export function isAtLeast(version: string, major: number, minor = 0): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.split('.').map(Number);
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

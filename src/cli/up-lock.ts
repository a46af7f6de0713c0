/**
 * One `up` in a folder. The lock is a file that names its process beyond doubt (number and moment of its start), so
 * a lock left by a `kill -9` is seen through, and a number that was used again is not mistaken for the owner.
 */
import { open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive, type ProcessIdentity, processIdentity } from '../platform/index.ts';
import { HoldfastError } from '../support/errors.ts';

export interface UpLock {
  release(): Promise<void>;
}

/** Rejects with ALREADY_RUNNING, naming the process. */
export async function takeUpLock(stateFolder: string): Promise<UpLock> {
  const path = join(stateFolder, 'up.json');
  for (let tries = 0; tries < 3; tries++) {
    try {
      const file = await open(path, 'wx', 0o600);
      await file.writeFile(`${JSON.stringify(processIdentity(process.pid))}\n`);
      await file.close();
      return { release: () => rm(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const owner = await readOwner(path);
      const liveness = owner ? isAlive(owner) : 'dead';
      if (owner && liveness !== 'dead') throw alreadyRunning(owner, liveness, path);
      await rm(path, { force: true });
    }
  }
  throw new HoldfastError(
    'ALREADY_RUNNING',
    `Several \`holdfast up\` start in ${stateFolder} at the same moment.`,
  );
}

async function readOwner(path: string): Promise<ProcessIdentity | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined; // written half-way by a process that was killed
  }
}

function alreadyRunning(owner: ProcessIdentity, liveness: 'alive' | 'unknown', path: string): HoldfastError {
  if (liveness === 'unknown') {
    return new HoldfastError(
      'ALREADY_RUNNING',
      `Another container may be running \`holdfast up\` here (${path}).`,
      {
        remedy: `From here its processes cannot be seen. If nothing runs there any more, delete ${path}.`,
      },
    );
  }
  return new HoldfastError(
    'ALREADY_RUNNING',
    `\`holdfast up\` already runs here: process ${owner.pid} (${path}).`,
    {
      remedy: `See it with \`holdfast status\`; stop it with Ctrl-C in its terminal or \`kill ${owner.pid}\`.`,
    },
  );
}

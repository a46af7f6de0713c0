/** The probe's file in a directory: written as the application's own should be, whole and on the disk. */
import { mkdir, open, readFile, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileSystem } from '../../protocol/probe.ts';
import type { ProbeFiles } from './probe-options.ts';

/** Hidden, so that an application that lists the directory does not take it for a user's. */
const fileName = (name: string): string => `.holdfast-probe-${name}`;

export function directoryFiles(directory: string): ProbeFiles {
  const pathOf = (name: string) => join(directory, fileName(name));
  return {
    async write(name, content) {
      await mkdir(directory, { recursive: true });
      const file = await open(pathOf(name), 'wx', 0o644);
      try {
        await file.writeFile(content);
        await file.sync();
      } finally {
        await file.close(); // what NFS could not store it says here
      }
    },
    async read(name) {
      try {
        return await readFile(pathOf(name), 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    remove: (name) => rm(pathOf(name), { force: true }),
  };
}

export async function fileSystemOf(directory: string): Promise<FileSystem | null> {
  try {
    const [{ dev }, { type, bavail, blocks, bsize }] = await Promise.all([
      stat(directory),
      statfs(directory),
    ]);
    return { directory, type, device: dev, freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return null; // it is not there yet; whoever writes will say why
  }
}

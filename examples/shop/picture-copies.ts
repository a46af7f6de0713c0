/**
 * An instance's own copies of pictures. The directory that all instances share may be on another machine; what was
 * asked for once is kept in a temporary folder here. A picture never changes, so a copy is as good as the original,
 * and may go at any time. Every hour the copies that nobody looked at go, on each instance: an event with `on: each`.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openPictures, type PictureStore } from './pictures.ts';

export interface PictureCopies {
  read(id: string): ReturnType<PictureStore['read']>;
  /** How many were removed. Stops between two of them when it is told to. */
  removeUnused(unusedForMs: number, signal: AbortSignal): Promise<number>;
}

export async function openPictureCopies(directory: string, originals: PictureStore): Promise<PictureCopies> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const copies = await openPictures(directory);

  /** Whole or not at all, like the original; a copy that cannot be made is done without. */
  async function copy(id: string, content: Buffer): Promise<void> {
    const unfinished = join(directory, `.${randomBytes(8).toString('hex')}`);
    try {
      await writeFile(unfinished, content);
      await rename(unfinished, join(directory, id));
    } catch {
      await rm(unfinished, { force: true }).catch(() => undefined); // the disk is in a bad state; the next clean-up sees
    }
  }

  return {
    async read(id) {
      const copied = await copies.read(id);
      if (copied) {
        const now = new Date();
        await utimes(join(directory, id), now, now).catch(() => undefined); // cleaned up this very moment
        return copied;
      }
      const original = await originals.read(id);
      if (original) await copy(id, original.content);
      return original;
    },
    async removeUnused(unusedForMs, signal) {
      let removed = 0;
      for (const name of await readdir(directory)) {
        signal.throwIfAborted();
        const path = join(directory, name);
        const found = await stat(path).catch(() => undefined); // a copy that was just finished under its name
        if (!found || Date.now() - found.mtimeMs < unusedForMs) continue;
        await rm(path, { force: true });
        removed++;
      }
      return removed;
    },
  };
}

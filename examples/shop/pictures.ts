/**
 * Pictures on the directory that all instances share.
 *
 * A picture appears whole or not at all: it is written under a name that nobody asks for, forced to the disk, and
 * then renamed. Its row in the database comes last, so that no page ever names a picture that is not there. The
 * name is random and carries the kind that was found in the content, so that to serve it takes the file alone, and
 * neither what the visitor called it nor what the browser claimed about it matters.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from './refusal.ts';

export const pictureLimitBytes = 5 * 1024 * 1024;
const abandonedAfterMs = 3_600_000;
const temporaryPrefix = '.upload-';

const contentTypes = {
  png: 'image/png',
  jpg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  avif: 'image/avif',
} as const;

type PictureKind = keyof typeof contentTypes;

export interface PictureStore {
  /** The name under which the picture can be read everywhere from now on. */
  keep(content: Buffer): Promise<string>;
  discard(id: string): Promise<void>;
  /** Undefined where there is no such picture. */
  read(id: string): Promise<{ content: Buffer; contentType: string } | undefined>;
}

export async function openPictures(directory: string): Promise<PictureStore> {
  await mkdir(directory, { recursive: true });
  await removeAbandoned(directory);
  return {
    async keep(content) {
      const kind = pictureKind(content);
      if (!kind) throw new Refusal(415, 'This is no picture: send a PNG, JPEG, GIF, WebP or AVIF.');
      const id = `${randomBytes(16).toString('hex')}.${kind}`;
      const temporary = join(directory, `${temporaryPrefix}${id}`);
      try {
        await writeToDisk(temporary, content);
        await rename(temporary, join(directory, id));
        await syncDirectory(directory);
      } catch (error) {
        await rm(temporary, { force: true });
        throw error;
      }
      return id;
    },
    discard: (id) => rm(join(directory, id), { force: true }),
    async read(id) {
      const kind = kindOfId(id);
      if (!kind) return undefined;
      try {
        return { content: await readFile(join(directory, id)), contentType: contentTypes[kind] };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },
  };
}

/** Only names of the form that `keep` makes, so that no path can be smuggled in. */
function kindOfId(id: string): PictureKind | undefined {
  const [, kind] = /^[0-9a-f]{32}\.(png|jpg|gif|webp|avif)$/.exec(id) ?? [];
  return kind as PictureKind | undefined;
}

/** By the first bytes, as browsers do it. */
function pictureKind(content: Buffer): PictureKind | undefined {
  const at = (start: number, end: number) => content.toString('latin1', start, end);
  if (at(0, 8) === '\x89PNG\r\n\x1a\n') return 'png';
  if (at(0, 3) === '\xff\xd8\xff') return 'jpg';
  if (at(0, 6) === 'GIF87a' || at(0, 6) === 'GIF89a') return 'gif';
  if (at(0, 4) === 'RIFF' && at(8, 12) === 'WEBP') return 'webp';
  if (at(4, 8) === 'ftyp' && /^avi[fs]$/.test(at(8, 12))) return 'avif';
  return undefined;
}

async function writeToDisk(path: string, content: Buffer): Promise<void> {
  const file = await open(path, 'wx', 0o644);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** What an instance that was killed in the middle of an upload left behind. */
async function removeAbandoned(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    const path = join(directory, name);
    const found = await stat(path).catch(() => undefined); // another instance may be tidying up as well
    if (found && Date.now() - found.mtimeMs > abandonedAfterMs) await rm(path, { force: true });
  }
}

/**
 * Tells when files have changed. What a file is, is looked up every few seconds (through symbolic links, because
 * mounted secrets are renewed by turning a link); a notification of the system only saves waiting for the next look.
 * A change is told when two looks in a row saw the same, so that a certificate and its key, which are written one
 * after the other, are one change.
 */
import { watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface FileWatch {
  /** Resolves when a change that is being told has been dealt with; none is told afterwards. */
  close(): Promise<void>;
}

export interface FileWatchOptions {
  readonly paths: readonly string[];
  /** The state from which a change is told, as `stampsOf` saw it. */
  readonly since: string;
  readonly onChange: () => Promise<void>;
  readonly everyMs: number;
  /** Between the two looks that must agree. */
  readonly settleMs: number;
}

export function watchFiles(options: FileWatchOptions): FileWatch {
  const { paths, onChange, everyMs, settleMs } = options;
  let told = options.since;
  let seen = told;
  let isClosed = false;
  let isHinted = false;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;

  const lookIn = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(look, ms);
    timer.unref();
  };
  const hint = () => {
    if (isHinted || looking || isClosed) return; // in a busy folder, hints must not put the look off for ever
    isHinted = true;
    lookIn(settleMs);
  };
  const look = () => {
    isHinted = false;
    looking ??= compare().finally(() => {
      looking = undefined;
      if (!isClosed) lookIn(seen === told ? everyMs : settleMs);
    });
  };
  const compare = async () => {
    const now = await stampsOf(paths);
    const isSettled = now === seen;
    seen = now;
    if (isClosed || !isSettled || now === told) return;
    told = now;
    await onChange();
  };

  const watchers = [...new Set(paths.map((path) => dirname(path)))].flatMap((folder) => {
    try {
      const watcher = watch(folder, { persistent: false }, hint);
      watcher.on('error', () => watcher.close()); // the looks go on
      return [watcher];
    } catch {
      return []; // no such folder yet, or no more watches to be had: the looks find it
    }
  });
  lookIn(everyMs);
  return {
    async close() {
      isClosed = true;
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
      await looking;
    },
  };
}

/** What tells one state of the files from another, a change of rights included. */
export async function stampsOf(paths: readonly string[]): Promise<string> {
  const each = await Promise.all(
    paths.map((path) =>
      stat(path, { bigint: true }).then(
        ({ dev, ino, size, mtimeNs, ctimeNs }) => [dev, ino, size, mtimeNs, ctimeNs].join(':'),
        (error: NodeJS.ErrnoException) => error.code ?? 'unknown',
      ),
    ),
  );
  return each.join(' ');
}

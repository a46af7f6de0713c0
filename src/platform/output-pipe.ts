/**
 * A pipe to read what a child writes. Node's own `stdio: 'pipe'` is a pair of sockets, and a socket cannot be
 * opened by name: `echo … > /dev/stderr` in a start script, or a log file set to `/dev/stdout`, fails with "No
 * such device or address". A real pipe can, so each stream is a FIFO, which loses its name as soon as both ends
 * are open. The writing end blocks, as programs expect of their standard output.
 */
import { execFile } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';

export interface OutputPipe {
  readonly readable: Readable;
  /** The descriptor for the child. Close it here once the child has it: the end of the stream depends on it. */
  readonly writeEnd: number;
}

export async function openOutputPipes<Name extends string>(
  names: readonly Name[],
): Promise<Record<Name, OutputPipe>> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-output-'));
  const path = (name: Name): string => join(directory, name);
  try {
    await promisify(execFile)('mkfifo', ['-m', '600', ...names.map(path)]);
    const pipes = names.map((name) => [name, openFifo(path(name))] as const);
    return Object.fromEntries(pipes) as Record<Name, OutputPipe>;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

export function discardPipe(pipe: OutputPipe): void {
  closeSync(pipe.writeEnd);
  pipe.readable.destroy();
}

function openFifo(path: string): OutputPipe {
  // Opened for reading first, without blocking: the opening for writing then finds a reader and returns at once.
  const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writeEnd = openSync(path, constants.O_WRONLY);
  return { readable: new Socket({ fd: readEnd, readable: true, writable: false }), writeEnd };
}

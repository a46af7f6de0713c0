import { close, constants, fstatSync, openSync, type Stats, stat, write } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Log } from '../support/log.ts';

/**
 * A file to which lines are appended beside traffic that must not wait for it. Lines are collected and written
 * together, by another thread. When the disk is full, or slower than the traffic, lines are dropped and counted.
 * Several processes share the file: it is open for appending, and each write consists of whole lines. When somebody
 * moved the file away (logrotate), what comes next goes to a new one in its place.
 */
export interface LineFile {
  /** The line ends with a newline and contains no other. */
  append(line: string): void;
  /** How many lines were lost so far. */
  readonly droppedLines: number;
  /** Writes what is there, for a second at most. */
  close(): Promise<void>;
}

const batchPauseMs = 100;
const batchBytes = 64 * 1024;
/** A pipe takes so much in one piece (PIPE_BUF); of more, another process's lines could get into the middle. */
const pipeBatchBytes = 4 * 1024;
/** What waits for a slow disk; more is dropped. */
const heldBytes = 4 * 1024 * 1024;
const closeLimitMs = 1_000;

/** `-` is standard output. Throws where the file cannot be opened. */
export function openLineFile(path: string, log: Log): LineFile {
  return new BatchedLines(new Appender(path), log.child({ file: path }));
}

class BatchedLines implements LineFile {
  droppedLines = 0;
  readonly #appender: Appender;
  readonly #log: Log;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #failing = false;
  #closed = false;

  constructor(appender: Appender, log: Log) {
    this.#appender = appender;
    this.#log = log;
  }

  append(line: string): void {
    const tooSlow = this.#waitingBytes > heldBytes;
    if (this.#closed || tooSlow) {
      this.droppedLines++;
      if (tooSlow) this.#fails('it is slower than the traffic');
      return;
    }
    const bytes = Buffer.from(line);
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await new Promise<void>((resolve) => {
      // A pipe that nobody reads, or a disk that went away, must not keep the process from ending.
      const limit = setTimeout(resolve, closeLimitMs);
      void this.#writeTheRest().then(() => {
        clearTimeout(limit);
        resolve();
      });
    });
    this.#appender.close();
  }

  async #writeTheRest(): Promise<void> {
    await this.#writing;
    await this.#write();
  }

  #schedule(): void {
    if (this.#closed || this.#writing !== undefined) return;
    if (this.#waitingBytes >= batchBytes) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), batchPauseMs).unref();
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#write().then(() => {
      this.#writing = undefined;
      if (this.#waiting.length > 0) this.#schedule();
    });
  }

  /** Writes what is waiting now, in pieces of whole lines. */
  async #write(): Promise<void> {
    const lines = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (let from = 0; from < lines.length; ) {
      let to = from;
      for (let bytes = 0; to < lines.length; to++) {
        bytes += (lines[to] as Buffer).length;
        if (to > from && bytes > this.#appender.batchBytes) break;
      }
      await this.#writePiece(lines.slice(from, to));
      from = to;
    }
  }

  async #writePiece(lines: readonly Buffer[]): Promise<void> {
    try {
      await this.#appender.append(Buffer.concat(lines));
      if (this.#failing)
        this.#log.info({ dropped: this.droppedLines }, 'lines are written to the file again');
      this.#failing = false;
    } catch (error) {
      this.droppedLines += lines.length;
      this.#fails((error as Error).message);
    }
  }

  /** Said once, and not for each line. */
  #fails(reason: string): void {
    if (!this.#failing) this.#log.warn({ reason }, 'the file cannot be written; lines are lost');
    this.#failing = true;
  }
}

const rotationPauseMs = 1_000;
const fullPipePauseMs = 10;
const newline = Buffer.from('\n');

/** Without O_NONBLOCK the opening of a named pipe that nobody reads would hold up the whole process. */
const openFlags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;
/** Client addresses are nobody else's business. */
const openMode = 0o640;
const standardOutput = 1;

const closeFile = promisify(close);
const statFile = promisify(stat);
const writeFile = promisify(write);

/** One open file; each call of `append` comes after the end of the one before. */
class Appender {
  /** The largest piece that stays in one piece. */
  readonly batchBytes: number;
  readonly #path: string;
  #descriptor: number;
  #opened: Stats;
  #lookedMs = performance.now();
  /** The last write ended in the middle of a line. */
  #torn = false;
  #busy = false;
  #closed = false;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = path === '-' ? standardOutput : openSync(path, openFlags, openMode);
    this.#opened = fstatSync(this.#descriptor);
    this.batchBytes = this.#opened.isFIFO() || this.#opened.isSocket() ? pipeBatchBytes : batchBytes;
  }

  async append(bytes: Buffer): Promise<void> {
    this.#assertOpen();
    this.#busy = true;
    try {
      await this.#followRotation();
      await this.#writeAll(this.#torn ? Buffer.concat([newline, bytes]) : bytes);
    } finally {
      this.#busy = false;
      if (this.#closed) await this.#release();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // A descriptor that is in use is closed by its user: its number could be given to another file meanwhile.
    if (!this.#busy) void this.#release();
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error('it was closed before');
  }

  async #writeAll(bytes: Buffer): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      this.#assertOpen();
      try {
        const { bytesWritten } = await writeFile(this.#descriptor, rest);
        if (bytesWritten > 0)
          this.#torn = bytesWritten < rest.length && rest[bytesWritten - 1] !== newline[0];
        rest = rest.subarray(bytesWritten);
      } catch (error) {
        // A pipe is full. Its reader will come.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        await sleep(fullPipePauseMs, undefined, { ref: false });
      }
    }
  }

  async #followRotation(): Promise<void> {
    if (this.#path === '-' || performance.now() - this.#lookedMs < rotationPauseMs) return;
    const there = await statFile(this.#path).catch(() => undefined);
    if (there === undefined || there.ino !== this.#opened.ino || there.dev !== this.#opened.dev) {
      const moved = this.#descriptor;
      this.#descriptor = openSync(this.#path, openFlags, openMode);
      this.#opened = fstatSync(this.#descriptor);
      this.#torn = false;
      await closeFile(moved);
    }
    this.#lookedMs = performance.now();
  }

  async #release(): Promise<void> {
    if (this.#path !== '-') await closeFile(this.#descriptor).catch(() => undefined);
  }
}

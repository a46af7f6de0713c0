import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../../support/log.ts';
import { Ownership } from './ownership.ts';
import type { PlaceFiles } from './place.ts';
import { findHaproxy, type Haproxy, isAlive, signal } from './process.ts';

/**
 * Sees to it that there is a HAProxy. Our connection to its runtime socket ends with its worker; then either another
 * worker is there already (somebody reloaded it), or what is left of it is ended and a new one is started. One that is
 * not ours is waited for.
 */
export interface SupervisorOptions {
  readonly haproxy: Haproxy;
  readonly files: PlaceFiles;
  readonly log: Log;
  readonly start: () => Promise<Haproxy>;
  readonly connect: (onLost: () => void) => Promise<void>;
  /** Another HAProxy serves from now on. */
  readonly onRestart: () => void;
}

const firstPauseMs = 50;
const longestPauseMs = 5_000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #ownership: Ownership;
  #haproxy: Haproxy;
  #isClosed = false;
  #search: Promise<void> | undefined;
  readonly #ending = new AbortController();
  readonly #endWithUs = () => {
    if (this.#isToEnd) signal(this.#haproxy.masterPid, 'SIGTERM');
  };

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#ownership = new Ownership(options.files.owner);
    this.#haproxy = options.haproxy;
  }

  async begin(): Promise<void> {
    await this.#ownership.take();
    // Whoever lets his process end without closing the engine wants no HAProxy either. Killed, we cannot do this: then
    // it goes on without us.
    process.once('exit', this.#endWithUs);
    await this.#options.connect(this.#onLost);
  }

  /** The HAProxy that ends with us; undefined: it is somebody else's. */
  async close(): Promise<Haproxy | undefined> {
    this.#isClosed = true;
    this.#ending.abort();
    await this.#search; // one that is being started must not be left behind
    process.off('exit', this.#endWithUs);
    return this.#isToEnd ? this.#haproxy : undefined;
  }

  get #isToEnd(): boolean {
    return this.#haproxy.isOurs && this.#ownership.isOurs;
  }

  readonly #onLost = (): void => {
    if (!this.#isClosed) this.#search = this.#findOrStart();
  };

  async #findOrStart(): Promise<void> {
    const { log, onRestart, connect } = this.#options;
    log.warn({ worker: this.#haproxy.workerPid }, 'HAProxy is gone; looking for it');
    onRestart();
    for (let pauseMs = firstPauseMs; !this.#isClosed; pauseMs = Math.min(2 * pauseMs, longestPauseMs)) {
      try {
        this.#haproxy = await this.#next();
        if (this.#isClosed) return;
        await connect(this.#onLost);
        log.info({ worker: this.#haproxy.workerPid }, 'HAProxy serves again');
        return;
      } catch (error) {
        log.error({ reason: (error as Error).message }, 'HAProxy does not run; trying again');
      }
      await sleep(pauseMs, undefined, { ref: false, signal: this.#ending.signal }).catch(() => undefined);
    }
  }

  async #next(): Promise<Haproxy> {
    const { files, start } = this.#options;
    const found = await findHaproxy(files);
    if (found !== undefined && found.workerPid !== this.#haproxy.workerPid) return found;
    if (!this.#isToEnd) throw new Error('it is not ours to start');
    for (const pid of [this.#haproxy.masterPid, this.#haproxy.workerPid]) {
      if (isAlive(pid) && (await isHaproxyOf(pid, files))) signal(pid, 'SIGKILL');
    }
    return start();
  }
}

/** A number can belong to another process by now; where the system tells, it is asked. */
async function isHaproxyOf(pid: number, files: PlaceFiles): Promise<boolean> {
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  return command === undefined ? process.platform !== 'linux' : command.includes(files.config);
}

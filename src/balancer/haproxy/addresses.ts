import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Log } from '../../support/log.ts';

/**
 * The addresses of hosts that are given by name. HAProxy takes only addresses at run time, so names are looked up here,
 * and again from time to time; a name that cannot be looked up keeps its last address.
 */
export class Addresses {
  readonly #log: Log;
  readonly #onChange: () => void;
  readonly #known = new Map<string, string>();
  #names: readonly string[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(log: Log, onChange: () => void) {
    this.#log = log;
    this.#onChange = onChange;
    this.#timer = setInterval(() => void this.#lookUp(this.#names), againMs).unref();
  }

  readonly of = (host: string): string | undefined => (isIP(host) ? host : this.#known.get(host));

  /** These are wanted from now on. `onChange` follows when one that was unknown or another one is found. */
  want(hosts: readonly string[]): void {
    this.#names = [...new Set(hosts.filter((host) => isIP(host) === 0))];
    const unknown = this.#names.filter((name) => !this.#known.has(name));
    if (unknown.length > 0) void this.#lookUp(unknown);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #lookUp(names: readonly string[]): Promise<void> {
    let isChanged = false;
    for (const name of names) {
      try {
        const { address } = await lookup(name, { order: 'ipv4first' });
        isChanged ||= this.#known.get(name) !== address;
        this.#known.set(name, address);
      } catch (error) {
        this.#log.warn(
          { host: name, reason: (error as Error).message },
          'the address of an instance is not found',
        );
      }
    }
    if (isChanged) this.#onChange();
  }
}

const againMs = 30_000;

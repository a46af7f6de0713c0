/** The instances of the soak: processes that are really killed and frozen, and what the routing table says of them. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { InstanceState } from '../../src/protocol/instance-state.ts';
import type { RoutedInstance } from '../../src/protocol/routing-table.ts';

export class SoakInstance {
  readonly name: string;
  state: InstanceState = 'up';
  isListed = true;
  /** Something is being done to it. */
  isStruck = false;
  readonly #journal: string;
  #port = 0;
  #child: ChildProcess | undefined;

  constructor(name: string, journal: string) {
    this.name = name;
    this.#journal = journal;
  }

  /** Starts the process; again on the same port, unless it is to move. */
  async start({ moves = false } = {}): Promise<void> {
    const child = fork(new URL('soak-application.ts', import.meta.url), {
      env: {
        ...process.env,
        SOAK_INSTANCE: this.name,
        SOAK_JOURNAL: this.#journal,
        SOAK_PORT: String(moves ? 0 : this.#port),
      },
    });
    this.#child = child;
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    this.#port = port;
  }

  /** Resolves when the process is gone. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  routed(): RoutedInstance {
    return { instance: this.name, host: '127.0.0.1', port: this.#port, state: this.state };
  }
}

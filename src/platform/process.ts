/**
 * The `process` platform: the application is a command in a process group of its own, which is recorded and held
 * before it runs; see held-group.ts. It gets the agent's environment as every command does, then what is given
 * at the start, and PORT.
 */
import type { Log } from '../support/log.ts';
import { silentLog } from '../support/log.ts';
import { type HeldGroup, startHeldGroup } from './held-group.ts';
import { type OutputReader, readLines } from './output-lines.ts';
import type { ExitReason, Platform, RunningInstance, StartSpec } from './platform.ts';
import { inheritedEnvironment } from './shell-at-gate.ts';

export interface ProcessPlatformOptions {
  /** For `/bin/sh -c`. It must stay in the foreground. */
  readonly command: string;
  readonly directory: string;
  readonly log?: Log;
}

export function processPlatform(options: ProcessPlatformOptions): Platform {
  const { command, directory, log = silentLog } = options;
  return {
    async start(spec) {
      const environment = instanceEnvironment(process.env, spec);
      const group = await startHeldGroup({
        command,
        directory,
        environment,
        output: 'separate',
        log,
        // Called on the specification, which may be an object with a state of its own.
        beforeRun: async (pid) => spec.beforeRun?.(pid),
      });
      const instance = new ProcessInstance(group, spec);
      group.run();
      return instance;
    },
  };
}

/** The agent's environment without what is the agent's alone, then what is given. */
export function instanceEnvironment(
  own: Readonly<Record<string, string | undefined>>,
  spec: Pick<StartSpec, 'environment' | 'address'>,
): Record<string, string> {
  return { ...inheritedEnvironment(own), ...spec.environment, PORT: String(spec.address.port) };
}

class ProcessInstance implements RunningInstance {
  readonly pid: number;
  readonly address: StartSpec['address'];
  readonly exited: Promise<ExitReason>;
  readonly #group: HeldGroup;

  constructor(group: HeldGroup, spec: StartSpec) {
    this.pid = group.pid;
    this.address = spec.address;
    this.#group = group;
    this.exited = this.#watch([
      readLines('stdout', group.stdout, spec.onOutput),
      readLines('stderr', group.stderr, spec.onOutput),
    ]);
  }

  stop({ killAfterMs }: { killAfterMs: number }): Promise<ExitReason> {
    this.#group.stop(killAfterMs);
    return this.exited;
  }

  kill(): void {
    this.#group.kill();
  }

  async #watch(readers: readonly OutputReader[]): Promise<ExitReason> {
    const { exit } = await this.#group.ended;
    await Promise.all(readers.map((reader) => reader.finish()));
    return exit;
  }
}

/**
 * What `holdfast balancer` is to whoever started it: one process that stays, with a balancer process under it that can be
 * replaced. SIGHUP starts another balancer, with the program and the configuration of this moment; when that one carries
 * traffic, the old one finishes its connections and ends. The listening sockets are held here, so nobody is refused
 * meanwhile, nor while a balancer that crashed is started again.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../database/clock.ts';
import type { FromBalancer, KeptSocket, ToBalancer } from '../gateway/kept-sockets.ts';
import { decideRestart, noExits } from '../protocol/restart.ts';
import type { Log } from '../support/log.ts';

const program = fileURLToPath(
  new URL(`./main${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url),
);

interface Generation {
  readonly child: ChildProcess;
  readonly startedMs: number;
  /** Undefined until it ended. */
  exit: { readonly code: number | null; readonly how: string } | undefined;
}

/** Resolves when the last balancer has ended, with the exit code of the command. `args`: those of this command. */
export function keepBalancer(args: readonly string[], log: Log): Promise<number> {
  return new Keeper(args, log).run();
}

class Keeper {
  readonly #args: readonly string[];
  readonly #log: Log;
  readonly #sockets = new Map<string, KeptSocket>();
  readonly #generations = new Set<Generation>();
  readonly #ended = Promise.withResolvers<number>();
  #current: Generation | undefined;
  /** Started by SIGHUP, and not serving yet. */
  #next: Generation | undefined;
  #history = noExits;
  #isStopping = false;
  #hasServed = false;

  constructor(args: readonly string[], log: Log) {
    this.#args = args;
    this.#log = log;
  }

  run(): Promise<number> {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => this.#stop(signal));
    // A terminal that was closed wants an end; whoever else sends it wants a successor.
    process.on('SIGHUP', () => (process.stdin.isTTY ? this.#stop('SIGTERM') : this.#replace()));
    this.#current = this.#start();
    return this.#ended.promise;
  }

  #start(): Generation {
    const child = fork(program, ['balancer', ...this.#args, '--kept'], {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const generation: Generation = {
      child,
      startedMs: systemClock.monotonicMs(),
      exit: undefined,
    };
    this.#generations.add(generation);
    child.on('error', () => undefined); // 'exit' follows, or the next message fails, which is the same
    child.on('message', (message: FromBalancer, socket: KeptSocket | undefined) => {
      if (message.kind === 'keep' && socket) this.#sockets.set(message.name, socket);
      else if (message.kind === 'drop') this.#drop(message.name);
      else if (message.kind === 'serving') this.#serves(generation);
    });
    child.once('exit', (code, signal) => {
      generation.exit = { code, how: signal ? `was killed by ${signal}` : `ended with code ${code}` };
      this.#generations.delete(generation);
      this.#lost(generation);
    });
    for (const [name, socket] of this.#sockets) tell(child, { kind: 'socket', name }, socket);
    tell(child, { kind: 'begin' });
    return generation;
  }

  #drop(name: string): void {
    this.#sockets.get(name)?.close();
    this.#sockets.delete(name);
  }

  #replace(): void {
    if (this.#isStopping || this.#next !== undefined) return;
    this.#log.info({ notice: true }, 'starting another balancer process, which takes over');
    this.#next = this.#start();
  }

  #serves(generation: Generation): void {
    this.#hasServed = true;
    if (generation !== this.#next) return;
    const old = this.#current;
    this.#current = generation;
    this.#next = undefined;
    this.#log.info({ notice: true, pid: generation.child.pid }, 'another balancer process has taken over');
    if (old) tell(old.child, { kind: 'finish' });
  }

  #lost(generation: Generation): void {
    const { exit } = generation;
    if (this.#isStopping) {
      if (this.#generations.size === 0) this.#ended.resolve(exit?.code ?? 1);
      return;
    }
    if (generation === this.#next) {
      this.#next = undefined;
      this.#log.error(
        { notice: true },
        `the balancer process that was to take over ${exit?.how}; the old one goes on`,
      );
    } else if (generation === this.#current) {
      // Where none has ever served, it has said itself why it cannot, and trying again would not change that. Later the
      // port stays open, and who waits at it is served as soon as somebody can.
      if (this.#hasServed) void this.#restart(generation);
      else this.#ended.resolve(exit?.code ?? 1);
    }
  }

  async #restart(generation: Generation): Promise<void> {
    const { startedMs, exit } = generation;
    const atMs = systemClock.monotonicMs();
    const description = exit?.how ?? 'ended';
    const decision = decideRestart(this.#history, {
      atMs,
      healthyForMs: atMs - startedMs,
      description,
      lastLines: [],
    });
    this.#history = decision.history;
    this.#log.error({ notice: true }, `the balancer process ${description}; starting it again`);
    await systemClock.sleep(decision.pauseMs);
    // Meanwhile one that was started by SIGHUP may have taken over.
    if (this.#isStopping || this.#current !== generation) return;
    this.#current = this.#start();
  }

  #stop(signal: NodeJS.Signals): void {
    this.#isStopping = true;
    if (this.#generations.size === 0) this.#ended.resolve(0);
    for (const { child } of this.#generations) child.kill(signal);
  }
}

function tell(child: ChildProcess, message: ToBalancer, socket?: object): void {
  if (child.connected) child.send(message, socket as never, () => undefined); // as above
}

import type { Log } from '../../support/log.ts';
import { actualState } from './actual-state.ts';
import type { PlaceFiles } from './place.ts';
import { openRuntimeSocket, type RuntimeSocket } from './runtime-socket.ts';
import { commandsBetween, type MapName, type RuntimeState } from './wanted-state.ts';

/**
 * Keeps a HAProxy as it is wanted. What it holds is remembered, so that a change is a few commands and takes effect in
 * the call that asks for it. As soon as one of them fails, or HAProxy is another one, the memory is worth nothing: what
 * it really holds is read, and the difference is sent again.
 */
export class Runtime {
  readonly #files: PlaceFiles;
  readonly #maps: readonly MapName[];
  readonly #log: Log;
  #socket: RuntimeSocket | undefined;
  /** Undefined: nobody has said yet, and what HAProxy holds is good. */
  #wanted: RuntimeState | undefined;
  /** Undefined: not known. */
  #held: RuntimeState | undefined;
  #isReading = false;

  /** `maps`: those that its configuration refers to; it knows no others. */
  constructor(files: PlaceFiles, maps: readonly MapName[], log: Log) {
    this.#files = files;
    this.#maps = maps;
    this.#log = log;
  }

  /** Resolves when HAProxy holds what is wanted; `onLost` is called when this connection is gone. */
  async connect(onLost: () => void): Promise<void> {
    const socket = await openRuntimeSocket(this.#files.runtime);
    this.#socket = socket;
    this.#held = undefined;
    void socket.closed.then(() => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#held = undefined;
      onLost();
    });
    await this.#read();
  }

  /** What HAProxy holds; undefined while that is not known. */
  get held(): RuntimeState | undefined {
    return this.#held;
  }

  get wanted(): RuntimeState | undefined {
    return this.#wanted;
  }

  want(state: RuntimeState): void {
    this.#wanted = state;
    if (this.#held !== undefined) this.#send();
    else void this.#read();
  }

  async ask(command: string): Promise<string> {
    const [answer = ''] = await this.askAll([command]);
    return answer;
  }

  /** Rejects while there is no connection, and when HAProxy refuses one of them. */
  async askAll(commands: readonly string[]): Promise<string[]> {
    if (this.#socket === undefined) throw new Error('HAProxy is not connected');
    return Promise.all(this.#socket.askAll(commands));
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  #send(): void {
    if (this.#held === undefined || this.#wanted === undefined) return;
    const commands = commandsBetween(this.#held, this.#wanted, this.#maps, (map) => this.#files[map]);
    this.#held = this.#wanted;
    this.askAll(commands).catch((error: Error) => {
      if (this.#held === undefined) return; // it is being read already
      this.#held = undefined;
      this.#log.warn({ reason: error.message }, 'HAProxy did not take a change; it will be told again');
      setTimeout(() => void this.#read(), retryMs).unref();
    });
  }

  async #read(): Promise<void> {
    if (this.#isReading || this.#socket === undefined) return;
    this.#isReading = true;
    try {
      this.#held = await readState(this.#files, this.#maps, (commands) => this.askAll(commands));
      this.#send();
    } catch (error) {
      if (this.#socket === undefined) return;
      this.#log.warn(
        { reason: (error as Error).message },
        'HAProxy did not tell what it holds; it is asked again',
      );
      setTimeout(() => void this.#read(), retryMs).unref();
    } finally {
      this.#isReading = false;
    }
  }
}

const retryMs = 200;

/** What a HAProxy holds, by its own words. */
export async function readState(
  files: PlaceFiles,
  maps: readonly MapName[],
  askAll: (commands: readonly string[]) => Promise<string[]>,
): Promise<RuntimeState> {
  const [servers = '', ...texts] = await askAll([
    'show servers state',
    ...maps.map((name) => `show map ${files[name]}`),
  ]);
  return actualState(servers, new Map(maps.map((name, index) => [name, texts[index] ?? ''])));
}

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';

export type RecordEntry = Readonly<Record<string, unknown>>;

/** An instance of the application in backend.ts, as the test holds it: it can be killed, frozen and made sick. */
export class TestBackend {
  readonly instance: string;
  readonly recordFile: string;
  /** Does it demand the PROXY protocol? */
  readonly proxied: boolean;
  port = 0;
  #child: ChildProcess | undefined;

  constructor(instance: string, recordFile: string, proxied = false) {
    this.instance = instance;
    this.recordFile = recordFile;
    this.proxied = proxied;
  }

  /** Starts the process, or starts it again on the same port. */
  async start(): Promise<void> {
    const program = join(import.meta.dirname, `backend${extname(import.meta.filename)}`);
    const env = {
      BACKEND_NAME: this.instance,
      BACKEND_RECORD: this.recordFile,
      BACKEND_PORT: String(this.port),
      BACKEND_PROXIED: this.proxied ? 'yes' : 'no',
    };
    const child = fork(program, { env: { ...process.env, ...env } });
    this.#child = child;
    const [message] = (await once(child, 'message')) as [{ port: number }];
    this.port = message.port;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** From now on this is the answer to a health check; `delayMs` is how long `/whoami` takes. */
  async pretend(health: 'sick' | 'well' | { status: number; body: string; delayMs?: number }): Promise<void> {
    const heard = once(this.#child as ChildProcess, 'message');
    const plain = { status: health === 'sick' ? 503 : 200, body: '' };
    this.#child?.send(typeof health === 'string' ? plain : health);
    await heard;
  }

  /** Everything that arrived, in order. */
  async records(): Promise<RecordEntry[]> {
    const text = await readFile(this.recordFile, 'utf8');
    const lines = text.split('\n').filter((line) => line !== '');
    return lines.map((line) => JSON.parse(line) as RecordEntry);
  }

  async count(method: string, url: string): Promise<number> {
    return (await this.records()).filter((entry) => entry.method === method && entry.url === url).length;
  }
}

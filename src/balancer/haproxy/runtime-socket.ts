import net from 'node:net';

/**
 * A conversation with HAProxy over one of its sockets. Commands are lines; HAProxy answers one after the other, and
 * ends each answer with a prompt. So many commands can be on their way at once, and they take effect in their order.
 * They are written in the call and not some time later: who sends a command and then a request finds it carried out.
 */
export interface RuntimeSocket {
  /** The answer without its prompt. Rejects with a RuntimeRefusal where HAProxy refuses the command. */
  ask(command: string): Promise<string>;
  /** One answer for each command. All of them are carried out before HAProxy looks at anything else. */
  askAll(commands: readonly string[]): Promise<string>[];
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>;
  close(): void;
}

/** HAProxy understood and refused, or did not understand. */
export class RuntimeRefusal extends Error {
  override readonly name = 'RuntimeRefusal';
  readonly command: string;

  constructor(command: string, answer: string) {
    // Of a command with a payload only the first line: the rest may be a key.
    super(`HAProxy refused "${command.split('\n', 1)[0]}": ${answer}`);
    this.command = command;
  }
}

interface Waiting {
  readonly command: string;
  resolve(answer: string): void;
  reject(error: Error): void;
}

const prompt = '\n> ';

/** Answers of this severity and below are refusals (as in syslog, 3 is an error). */
const refusal = /^\[[0-3]\]: |^(?:\[\d\]: )?Unknown command/;
const severity = /^\[\d\]: /;

export function openRuntimeSocket(path: string, limitMs = 5_000): Promise<RuntimeSocket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    socket.setEncoding('utf8');
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      const conversation = new Conversation(socket, limitMs);
      conversation.ask('prompt').catch(() => undefined); // 'closed' tells
      conversation.ask('set severity-output number').catch(() => undefined);
      resolve(conversation);
    });
  });
}

class Conversation implements RuntimeSocket {
  readonly closed: Promise<void>;
  readonly #socket: net.Socket;
  readonly #limitMs: number;
  #waiting: Waiting[] = [];
  #pieces: string[] = [];
  #tail = '';

  constructor(socket: net.Socket, limitMs: number) {
    this.#socket = socket;
    this.#limitMs = limitMs;
    socket.on('data', (text) => this.#take(String(text)));
    socket.on('error', () => undefined); // 'close' follows
    socket.setTimeout(0);
    socket.on('timeout', () => socket.destroy());
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        const lost = this.#waiting;
        this.#waiting = [];
        for (const { command, reject } of lost) {
          reject(new Error(`HAProxy ended the connection before it answered "${command.split('\n', 1)[0]}"`));
        }
        resolve();
      });
    });
  }

  ask(command: string): Promise<string> {
    return this.askAll([command])[0] as Promise<string>;
  }

  askAll(commands: readonly string[]): Promise<string>[] {
    if (this.#socket.destroyed) {
      return commands.map(() => Promise.reject(new Error('the connection to HAProxy is closed')));
    }
    if (this.#waiting.length === 0) this.#socket.setTimeout(this.#limitMs);
    const answers = commands.map(
      (command) =>
        new Promise<string>((resolve, reject) => {
          this.#waiting.push({ command, resolve, reject });
        }),
    );
    // In one piece: HAProxy works through what it has read before it goes on.
    this.#socket.write(commands.map((command) => `${command}\n`).join(''));
    return answers;
  }

  close(): void {
    this.#socket.destroy();
  }

  // An answer can come in many pieces, and the prompt at its end can be cut in two; only the last characters are
  // looked at again with each piece.
  #take(text: string): void {
    let rest = text;
    for (;;) {
      const joined = this.#tail + rest;
      const end = joined.indexOf(prompt);
      if (end < 0) {
        const kept = Math.max(joined.length - prompt.length + 1, 0);
        this.#pieces.push(joined.slice(0, kept));
        this.#tail = joined.slice(kept);
        return;
      }
      this.#pieces.push(joined.slice(0, end));
      this.#answer(this.#pieces.join(''));
      this.#pieces = [];
      this.#tail = '';
      rest = joined.slice(end + prompt.length);
    }
  }

  #answer(text: string): void {
    const next = this.#waiting.shift();
    if (this.#waiting.length === 0) this.#socket.setTimeout(0);
    if (next === undefined) return;
    const answer = text.trim();
    if (refusal.test(answer)) next.reject(new RuntimeRefusal(next.command, answer.replace(severity, '')));
    else next.resolve(answer.replace(severity, ''));
  }
}

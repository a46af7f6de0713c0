/**
 * The stand-in's log: lines are published to nodes, subscribers take them at their level. `file` appends to a file,
 * `tcpjsonlines` sends one JSON object per line, `syslog` is accepted and sends nothing. Standard output has all of it
 * until `close_stdio`.
 */
import { appendFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';

export const logLevels = ['NONE', 'CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'TRACE'] as const;
export type LogLevel = (typeof logLevels)[number];

interface Subscriber {
  readonly name: string;
  readonly autosubscribe: LogLevel;
  readonly levels: Record<string, LogLevel>;
  write(line: LogLine): void;
}

interface LogLine {
  readonly timestamp: string;
  readonly level: LogLevel;
  readonly node: string;
  readonly message: string;
}

export class RuntimeLog {
  readonly #subscribers = new Map<string, Subscriber>();
  readonly #sockets: Socket[] = [];
  #started = false;
  #stdio = true;

  publish(level: LogLevel, node: string, message: string): void {
    const line: LogLine = { timestamp: new Date().toISOString(), level, node, message };
    if (this.#stdio) process.stdout.write(`${asText(line)}\n`);
    if (!this.#started) return;
    for (const one of this.#subscribers.values()) {
      const limit = one.levels[node] ?? one.autosubscribe;
      if (logLevels.indexOf(level) <= logLevels.indexOf(limit)) one.write(line);
    }
  }

  /** False when the name is taken. */
  subscribe(params: Readonly<Record<string, unknown>>): boolean {
    const name = String(params.name);
    if (this.#subscribers.has(name)) return false;
    const autosubscribe = (params.autosubscribe ?? 'NONE') as LogLevel;
    this.#subscribers.set(name, { name, autosubscribe, levels: {}, write: this.#writer(params) });
    return true;
  }

  setLevels(subscriber: string, nodes: readonly { name: string; level: LogLevel }[]): boolean {
    const found = this.#subscribers.get(subscriber);
    for (const { name, level } of nodes) if (found) found.levels[name] = level;
    return found !== undefined;
  }

  settings(): Record<string, Record<string, LogLevel>> {
    return Object.fromEntries([...this.#subscribers].map(([name, { levels }]) => [name, { ...levels }]));
  }

  start(): void {
    this.#started = true;
  }

  closeStdio(): void {
    this.#stdio = false;
  }

  /** Resolves when what was written has left. */
  async close(): Promise<void> {
    await Promise.all(this.#sockets.map((socket) => new Promise<void>((done) => socket.end(() => done()))));
  }

  #writer(params: Readonly<Record<string, unknown>>): (line: LogLine) => void {
    if (params.type === 'file') {
      const file = String(params.filename);
      return (line) => appendFileSync(file, `${asText(line)}\n`);
    }
    if (params.type === 'tcpjsonlines') {
      const socket = connect(Number(params.port), String(params.host));
      socket.on('error', () => undefined); // nobody listens: the runtime goes on without
      this.#sockets.push(socket);
      return (line) => {
        if (!socket.destroyed) socket.write(`${JSON.stringify(line)}\n`);
      };
    }
    return () => undefined;
  }
}

const asText = ({ timestamp, level, node, message }: LogLine): string =>
  `${timestamp.replace('T', ' ').replace('Z', '')} ${level} - ${node}: ${message}`;

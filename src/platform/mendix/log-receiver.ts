/**
 * The runtime's log as structured lines: from 7.15 it sends one JSON object per line to an address, which is this one,
 * on the loopback interface. An older runtime has only what it prints.
 */
import { createServer, type Server } from 'node:net';
import { type OutputReader, readLines } from '../output-lines.ts';
import type { OutputLine } from '../platform.ts';
import type { MendixVersion } from './application.ts';
import type { LogSubscriber } from './start-sequence.ts';

export interface LogReceiver {
  readonly subscriber: LogSubscriber;
  /** Resolves when every line that arrived was passed on. */
  close(): Promise<void>;
}

/** Undefined where the version cannot send its log. */
export async function receiveLog(
  version: MendixVersion,
  onOutput: (line: OutputLine) => void,
): Promise<LogReceiver | undefined> {
  if (!version.isAtLeast(7, 15)) return undefined;
  const readers: OutputReader[] = [];
  const server = createServer((socket) => void readers.push(readLines('stdout', socket, onOutput)));
  const port = await listening(server);
  return {
    subscriber: {
      type: 'tcpjsonlines',
      name: 'HoldfastSubscriber',
      autosubscribe: 'INFO',
      host: '127.0.0.1',
      // Version 7 takes it as a text only.
      port: version.isAtLeast(8) ? port : String(port),
    },
    async close() {
      server.close();
      await Promise.all(readers.map((reader) => reader.finish()));
    },
  };
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    });
  });
}

import net from 'node:net';
import tls from 'node:tls';
import type { Cleanup } from './cleanup.ts';
import { until } from './until.ts';

/** A client's connection, byte by byte. */
export class RawConnection {
  readonly socket: net.Socket;
  received = '';
  isClosed = false;

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.setNoDelay();
    socket.setEncoding('latin1');
    socket.on('data', (text) => {
      this.received += text;
    });
    socket.on('error', () => undefined); // 'close' follows; what was received until then is the answer
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** The status of every response so far, interim ones included. Only for bodies that look like none. */
  get statuses(): number[] {
    return [...this.received.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map((match) => Number(match[1]));
  }

  async untilReceived(pattern: RegExp, limitMs?: number): Promise<void> {
    const what = () => `${pattern} in ${JSON.stringify(this.received.slice(-500))}`;
    await until(what, () => pattern.test(this.received), limitMs);
  }

  async untilClosed(limitMs?: number): Promise<void> {
    const what = () => `the connection is closed after ${JSON.stringify(this.received.slice(-500))}`;
    await until(what, () => this.isClosed, limitMs);
  }
}

/** Opens a connection and writes the first bytes; the end of the test closes it. */
export function connectRaw(
  t: Cleanup,
  port: number,
  bytes: string | Buffer = '',
  localAddress?: string,
): RawConnection {
  const socket = net.connect({ port, host: '127.0.0.1', ...(localAddress ? { localAddress } : {}) });
  const connection = new RawConnection(socket);
  t.after(() => void socket.destroy());
  if (bytes.length > 0) connection.send(bytes);
  return connection;
}

/** The same through TLS; the certificate is verified. */
export function connectSecure(t: Cleanup, port: number, options: tls.ConnectionOptions): RawConnection {
  const socket = tls.connect({ port, host: '127.0.0.1', ...options });
  t.after(() => void socket.destroy());
  return new RawConnection(socket);
}

import net from 'node:net';

/**
 * Reading from sockets without an allocation for each piece. Node gives every read a buffer of 64 KiB of its own and
 * cuts it down afterwards, which costs a proxy of small messages a fifth of its time. Here all sockets of a process
 * read into one buffer, and whoever is called with its bytes is done with them when the call returns. A socket that
 * carries a large body reads into a buffer of its own (`owns`), whose bytes may be handed on as they are.
 */
const readBytes = 32 * 1024;

const shared = Buffer.allocUnsafeSlow(readBytes);

/** What reads from a socket. `owned`: the bytes stay as they are until they were written somewhere. */
export interface ByteReader {
  onBytes(bytes: Buffer, from: number, to: number, owned: boolean): void;
}

export class SocketBuffer {
  /** Read into a buffer of this socket's own from the next read on. */
  owns = false;
  #own: Buffer | undefined;

  /** The buffer for the next read. */
  next(): Buffer {
    if (!this.owns) {
      this.#own = undefined;
      return shared;
    }
    this.#own ??= Buffer.allocUnsafeSlow(readBytes);
    return this.#own;
  }

  /** Bytes of it are still waiting to be written: the next read needs another one. */
  lent(): void {
    this.#own = undefined;
  }
}

const onreadOptions = (buffer: SocketBuffer, reader: ByteReader) => ({
  buffer: () => buffer.next(),
  callback: (count: number, bytes: Uint8Array): boolean => {
    reader.onBytes(bytes as Buffer, 0, count, bytes !== shared);
    return true;
  },
});

/** Connects to an instance. Data goes to the reader; all else are the socket's own events. */
export function connectSocket(
  target: { readonly host: string; readonly port: number },
  buffer: SocketBuffer,
  reader: ByteReader,
): net.Socket {
  return net.connect({
    host: target.host,
    port: target.port,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 10_000,
    onread: onreadOptions(buffer, reader),
  } as net.NetConnectOpts);
}

interface SocketWithHandle {
  _handle: object | null;
}

/** What was written and has not left this process, in the kernel's eyes as well as in ours. */
export function unsentBytes(socket: net.Socket): number {
  const { writableLength } = socket;
  if (writableLength === 0) return 0;
  const { _handle } = socket as unknown as { readonly _handle: { readonly writeQueueSize?: number } | null };
  return writableLength + (_handle?.writeQueueSize ?? 0);
}

/**
 * Takes over a connection that a server has accepted with `pauseOnConnect`. A server cannot be told to read into a
 * given buffer, so the connection's handle is moved into a socket that can. Where Node has no such handle any more, the
 * accepted socket is read in the ordinary way.
 */
export function adoptSocket(accepted: net.Socket, buffer: SocketBuffer, reader: ByteReader): net.Socket {
  const holder = accepted as unknown as SocketWithHandle;
  const handle = holder._handle;
  if (!handle) return readOrdinarily(accepted, reader);
  holder._handle = null;
  const socket = new net.Socket({
    handle,
    onread: onreadOptions(buffer, reader),
  } as net.SocketConstructorOpts);
  return socket;
}

/** For sockets that cannot be read otherwise, such as those of TLS. Each piece has a buffer of its own. */
export function readOrdinarily(socket: net.Socket, reader: ByteReader): net.Socket {
  socket.on('data', (bytes: Buffer) => reader.onBytes(bytes, 0, bytes.length, true));
  return socket;
}

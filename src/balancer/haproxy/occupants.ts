import net from 'node:net';
import { type BackendName, backends } from './config-names.ts';

/**
 * The connections that keep the waiting rooms taken (config.ts): one for each backend, held as long as we live. When
 * one is lost, because HAProxy was restarted, it is opened again.
 */
export interface Occupants {
  close(): void;
}

const retryMs = 50;

export function occupyWaitingRooms(door: string): Occupants {
  const held = new Map<BackendName, net.Socket>();
  let isClosed = false;
  const occupy = (backend: BackendName) => {
    if (isClosed) return;
    const socket = net.connect(door, () => {
      socket.write(`GET /${backend} HTTP/1.1\r\nHost: door\r\nholdfast-occupant: yes\r\n\r\n`);
    });
    held.set(backend, socket);
    socket.resume();
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      if (!isClosed) setTimeout(() => occupy(backend), retryMs).unref();
    });
  };
  for (const backend of backends) occupy(backend);
  return {
    close() {
      isClosed = true;
      for (const socket of held.values()) socket.destroy();
    },
  };
}

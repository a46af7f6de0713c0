import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { parseDatabaseUrl } from './url.ts';

/**
 * The address of this machine from which it reaches the arbiter, which is then one that its peers can reach too.
 * A datagram socket is connected and asked for its own address; nothing is sent. Loopback when nothing is found.
 */
export async function addressTowards(databaseUrl: string): Promise<string> {
  const [first] = parseDatabaseUrl(databaseUrl, process.env).hosts;
  const target = await lookup(first?.host ?? '127.0.0.1').catch(() => undefined);
  if (!target) return '127.0.0.1';
  return new Promise((resolve) => {
    const socket = createSocket(target.family === 6 ? 'udp6' : 'udp4');
    const answer = (address: string) => {
      socket.close();
      resolve(address);
    };
    socket.once('error', () => answer('127.0.0.1'));
    socket.connect(first?.port ?? 5432, target.address, () => answer(socket.address().address));
  });
}

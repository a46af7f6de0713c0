import { setTimeout as sleep } from 'node:timers/promises';
import { serverName } from './config-names.ts';

/** The addresses by which HAProxy knows the tunnels of a slot, from what it says about all its streams. */
export function tunnelsIn(sessions: string, slot: number): string[] {
  const servers = [serverName('main', slot), serverName('reserve', slot), serverName('unchecked', slot)];
  const isOurs = new RegExp(`^ *server=(?:${servers.join('|')}) `, 'm');
  return sessions
    .split(/^(?=0x)/m)
    .filter((stream) => isOurs.test(stream) && /\brsp\.st=MSG_TUNNEL\b/.test(stream))
    .map((stream) => /^0x[0-9a-f]+/.exec(stream)?.[0] ?? '');
}

/** Ends the tunnels of a slot, each at a moment of its own within so long. */
export async function endTunnels(
  runtime: { ask(command: string): Promise<string> },
  slot: number,
  withinMs: number,
  random: () => number,
): Promise<void> {
  const sessions = await runtime.ask('show sess all').catch(() => '');
  const ends = tunnelsIn(sessions, slot).map(async (tunnel) => {
    await sleep(random() * withinMs, undefined, { ref: false });
    await runtime.ask(`shutdown session ${tunnel}`).catch(() => undefined); // it may have ended by itself
  });
  await Promise.all(ends);
}

/**
 * P9: two lease times after the last fault nothing is stuck. Every name has its one acting agent or is known to be
 * free; nothing runs by the ledger that nobody works on; nothing waits that somebody could take.
 */
import type { SimulatedAgent } from './agent.ts';
import type { Journal } from './journal.ts';

type Look = (text: string) => Promise<Record<string, unknown>[]>;

const isAlive = ({ machine, ended }: SimulatedAgent): boolean => !machine.isDead && ended === 'no';

export function checkNames(
  agents: readonly SimulatedAgent[],
  rows: readonly { instance: string; ended: boolean }[],
): void {
  const living = agents.filter(isAlive);
  if (living.length === 0) return;
  for (const { instance, ended } of rows) {
    const candidates = living.filter((agent) => agent.instance === instance);
    const acting = candidates.filter((agent) => agent.keeper.mayAct());
    const names = candidates.map(({ agentId }) => agentId).join(', ') || 'nobody';
    if (candidates.length === 0 && !ended)
      throw new Error(`P9: ${instance} is nobody's, and not known to be lost`);
    if (candidates.length > 0 && acting.length !== 1)
      throw new Error(`P9: ${acting.length} agents act for ${instance} after everything settled (${names})`);
  }
}

/** What looks stuck; is it still so a little later, then it is. */
export async function suspects(
  agents: readonly SimulatedAgent[],
  journal: Journal,
  look: Look,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  const worked = new Set([...journal.live].map(({ entry }) => entry.token));
  const running = await look(`select r.token::text as token, r.instance, o.event, holdfast.ms(o.due) as due
    from holdfast.occurrence o left join holdfast.run r on r.occurrence = o.id and r.ended_at is null
    where o.state = 'running'`);
  for (const { token, instance, event, due } of running) {
    if (!worked.has(String(token)))
      found.add(`${event} (${due}) runs on ${instance} by the ledger (${token}), and nobody works on it`);
  }
  const able = agents.filter((agent) => isAlive(agent) && agent.keeper.mayAct() && agent.isEligible);
  const waiting = await look(`select o.id::text, o.event, o.place, o.attempts, holdfast.ms(o.due) as due
    from holdfast.occurrence o join holdfast.event e on e.name = o.event
    where o.state = 'waiting' and o.held is null and not e.retired and e.definition -> 'run' ->> 'kind' <> 'gate' and o.not_before <= holdfast.now()
      and (e.paused_at is null or o.cause = 'manual')`);
  for (const { id, event, place, attempts, due } of waiting) {
    const takers = able.filter(
      (agent) => (place === '' || place === agent.instance) && agent.hasRoom(String(event)),
    );
    if (takers[0])
      found.add(
        `${event} (${due}) ${id} waits for attempt ${Number(attempts) + 1}, and ${takers[0].agentId} could take it`,
      );
  }
  return found;
}

/** Never, not even for a moment: somebody in line behind nobody. */
export async function checkLine(look: Look): Promise<void> {
  const [held] = await look(`select o.event, o.place, holdfast.ms(o.due) as due from holdfast.occurrence o
    where o.state = 'waiting' and o.held = 'predecessor' and not exists (select from holdfast.occurrence x
      where x.event = o.event and x.place = o.place and x.state <> 'done' and x.held is distinct from 'predecessor')`);
  if (held)
    throw new Error(`P2: ${held.event} ${held.place} (${held.due}) is in line, and nobody is before it`);
}

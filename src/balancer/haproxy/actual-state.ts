import { serverName } from './config-names.ts';
import { type MapName, mapNames, type RuntimeState, type SlotState } from './wanted-state.ts';

/** What a running HAProxy holds, read from its own answers. */
export function actualState(serversState: string, maps: ReadonlyMap<MapName, string>): RuntimeState {
  const rows = parseServers(serversState);
  const servers = new Map<number, SlotState>();
  for (const slot of slotsIn(rows)) {
    const state = slotState(rows, slot);
    if (state !== undefined) servers.set(slot, state);
  }
  const read = mapNames.map((name) => [name, parseMap(maps.get(name) ?? '')]);
  return { servers, maps: Object.fromEntries(read) as RuntimeState['maps'] };
}

interface ServerRow {
  readonly host: string;
  readonly port: number;
  readonly weight: number;
  readonly inMaintenance: boolean;
}

/** Somebody, an administrator or the configuration, put it there; an inherited maintenance follows by itself. */
const forcedMaintenance = 0x01;

function parseServers(text: string): ReadonlyMap<string, ServerRow> {
  const lines = text.split('\n');
  const names =
    lines
      .find((line) => line.startsWith('# '))
      ?.slice(2)
      .split(' ') ?? [];
  const rows = new Map<string, ServerRow>();
  for (const line of lines) {
    const values = line.split(' ');
    if (line.startsWith('#') || values.length < names.length) continue;
    const of = (name: string) => values[names.indexOf(name)] ?? '';
    rows.set(`${of('be_name')}/${of('srv_name')}`, {
      host: of('srv_addr'),
      port: Number(of('srv_port')),
      weight: Number(of('srv_uweight')),
      inMaintenance: (Number(of('srv_admin_state')) & forcedMaintenance) !== 0,
    });
  }
  return rows;
}

const slotsIn = (rows: ReadonlyMap<string, ServerRow>): number[] =>
  [...rows.keys()].flatMap((name) => Number(/^app\/a(\d+)$/.exec(name)?.[1]) || []);

/** Half a slot is one at another address: it is emptied before it is filled. */
function slotState(rows: ReadonlyMap<string, ServerRow>, slot: number): SlotState | undefined {
  const main = rows.get(`app/${serverName('main', slot)}`);
  const unchecked = rows.get(`any/${serverName('unchecked', slot)}`);
  if (main === undefined || unchecked === undefined || (main.inMaintenance && unchecked.inMaintenance))
    return undefined;
  const all = [
    main,
    unchecked,
    rows.get(`app/${serverName('reserve', slot)}`),
    rows.get(`once/${serverName('main', slot)}`),
    rows.get(`once/${serverName('reserve', slot)}`),
  ];
  const isWhole =
    !main.inMaintenance && all.every((row) => row?.host === main.host && row.port === main.port);
  return {
    host: isWhole ? main.host : '',
    port: main.port,
    weight: main.weight,
    reserveWeight: unchecked.weight,
    listed: !unchecked.inMaintenance,
  };
}

/** Lines of a pointer, a key and a value. */
function parseMap(text: string): ReadonlyMap<string, string> {
  const entries = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, key, value] = /^0x[0-9a-f]+ (\S+) (.*)$/.exec(line.trim()) ?? [];
    if (key !== undefined && value !== undefined) entries.set(key, value);
  }
  return entries;
}

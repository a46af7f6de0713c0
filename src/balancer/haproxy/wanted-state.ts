import { rendezvousOrder, stickyValue } from '../../protocol/affinity.ts';
import { keepsItsUsers, takesNewUsers } from '../../protocol/instance-state.ts';
import type { RoutedInstance, RoutingTable } from '../../protocol/routing-table.ts';
import { backends, bucketCount, fullWeight, kindsIn, serverName } from './config-names.ts';

/**
 * What HAProxy should hold at run time, as plain data, and the commands that lead there from what it holds. Both are
 * of the same form; so a HAProxy that was restarted, one that was found running and one that refused a command are
 * dealt with in the same way: look what it has, and say what is missing.
 */
export interface RuntimeState {
  /** By slot; a slot that is not here is in maintenance. */
  readonly servers: ReadonlyMap<number, SlotState>;
  readonly maps: Readonly<Record<MapName, ReadonlyMap<string, string>>>;
}

export interface SlotState {
  /** An address of IPv4 or IPv6: HAProxy takes no names at run time. */
  readonly host: string;
  readonly port: number;
  /** Of new users, as HAProxy counts; 0: none, while there is somebody else. */
  readonly weight: number;
  /** Of those who come when there is nobody else, or when all look sick. */
  readonly reserveWeight: number;
  /** May requests come here when all look sick? */
  readonly listed: boolean;
}

/** Nobody comes here any more; what is on its way is let through before the server is closed. */
const leaving = (state: SlotState): SlotState => ({
  ...state,
  weight: 0,
  reserveWeight: 0,
  listed: false,
});

export const mapNames = ['owners', 'cookies', 'names', 'buckets', 'flags'] as const;
export type MapName = (typeof mapNames)[number];

export const emptyState: RuntimeState = {
  servers: new Map(),
  maps: { owners: new Map(), cookies: new Map(), names: new Map(), buckets: new Map(), flags: new Map() },
};

export interface Wishes {
  readonly table: RoutingTable;
  readonly slots: ReadonlyMap<string, number>;
  /** The address of an instance whose host is a name; an instance without one is left out. */
  readonly addressOf: (host: string) => string | undefined;
  readonly weights: Readonly<Record<string, number>>;
  /** Do users stick by a header or their address? */
  readonly byBuckets: boolean;
  /** Instances whose time to drain is over: nobody may come to them any more. */
  readonly drained: ReadonlySet<string>;
  /** Slots that were in use until a moment ago. */
  readonly leaving: ReadonlyMap<number, SlotState>;
}

export function wantedState(wishes: Wishes): RuntimeState {
  const { table, slots, drained, addressOf } = wishes;
  const servers = new Map<number, SlotState>(
    [...wishes.leaving].map(([slot, state]) => [slot, leaving(state)]),
  );
  const maps = {
    owners: new Map<string, string>(),
    cookies: new Map<string, string>(),
    names: new Map<string, string>(),
    buckets: new Map<string, string>(),
    flags: new Map<string, string>(),
  };
  const scale = weightScale(table.instances, wishes.weights);
  for (const { instance, host, port, state } of table.instances) {
    const slot = slots.get(instance);
    const address = addressOf(host);
    if (slot === undefined || address === undefined) continue;
    maps.cookies.set(String(slot), stickyValue(table.stickyKey, instance));
    maps.names.set(String(slot), encodeURIComponent(instance));
    if (!keepsItsUsers(state)) continue;
    // Whoever belongs to an instance whose time is over belongs nowhere; what is under way there goes on.
    if (!drained.has(instance)) maps.owners.set(stickyValue(table.stickyKey, instance), String(slot));
    const weight = scale(wishes.weights[instance] ?? 1);
    servers.set(slot, {
      host: address,
      port,
      weight: takesNewUsers(state) ? weight : 0,
      reserveWeight: Math.max(weight, 1),
      listed: true,
    });
    if (!takesNewUsers(state)) maps.flags.set(String(slot), 'drain');
  }
  const { instances } = table;
  if (instances.length > 0 && instances.every(({ state }) => state === 'maintenance'))
    maps.flags.set('maintenance', 'yes');
  if (wishes.byBuckets) fillBuckets(maps.buckets, wishes);
  return { servers, maps };
}

/**
 * The slots that the instances of a table have in a HAProxy that runs already: by their cookies, or else by where they
 * are. Whoever takes it over leaves everybody in his place.
 */
export function heldSlots(
  table: RoutingTable,
  held: RuntimeState | undefined,
  addressOf: (host: string) => string | undefined,
): Map<string, number> {
  const slots = new Map<string, number>();
  if (held === undefined) return slots;
  for (const { instance, host, port } of table.instances) {
    const byCookie = Number(held.maps.owners.get(stickyValue(table.stickyKey, instance)));
    const byPlace = [...held.servers].find(
      ([, server]) => server.host === addressOf(host) && server.port === port,
    );
    const slot = byCookie || byPlace?.[0];
    if (slot && ![...slots.values()].includes(slot)) slots.set(instance, slot);
  }
  return slots;
}

/** HAProxy's weights are whole numbers up to 256, and the finer the larger. */
function weightScale(
  instances: readonly RoutedInstance[],
  weights: Readonly<Record<string, number>>,
): (weight: number) => number {
  const largest = Math.max(...instances.map(({ instance }) => weights[instance] ?? 1), 0);
  const unit = largest > 0 ? Math.min(fullWeight, 256 / largest) : 0;
  return (weight) => (weight > 0 ? Math.max(1, Math.round(weight * unit)) : 0);
}

/** The first three slots that each bucket prefers, so that HAProxy can go on by itself when the first is down. */
function fillBuckets(buckets: Map<string, string>, { table, slots, drained }: Wishes): void {
  const routed = table.instances.filter(
    ({ state, instance }) => keepsItsUsers(state) && !drained.has(instance),
  );
  const open = routed.filter(({ state }) => takesNewUsers(state));
  const names = (open.length > 0 ? open : routed).map(({ instance }) => instance);
  if (names.length === 0) return;
  for (let bucket = 0; bucket < bucketCount; bucket++) {
    const order = rendezvousOrder(String(bucket), names).slice(0, 3);
    buckets.set(String(bucket), order.flatMap((name) => slots.get(name) ?? []).join(':'));
  }
}

/** The commands that make one state of the other, in an order in which no request meets half of it. */
export function commandsBetween(
  from: RuntimeState,
  to: RuntimeState,
  maps: readonly MapName[],
  fileOf: (map: MapName) => string,
): string[] {
  const commands: string[] = [];
  for (const [slot, had] of from.servers) {
    const has = to.servers.get(slot);
    if (has === undefined || has.host !== had.host || has.port !== had.port) commands.push(...stop(slot));
  }
  for (const map of maps) commands.push(...additions(from.maps[map], to.maps[map], fileOf(map)));
  for (const [slot, has] of to.servers) {
    const before = from.servers.get(slot);
    const had = before?.host === has.host && before.port === has.port ? before : undefined;
    commands.push(...fill(slot, has, had));
  }
  for (const map of maps) commands.push(...removals(from.maps[map], to.maps[map], fileOf(map)));
  return commands;
}

/** What is under way there is ended: what may be repeated goes elsewhere, the rest is told that its fate is unknown. */
function stop(slot: number): string[] {
  const main = serverName('main', slot);
  const reserve = serverName('reserve', slot);
  const unchecked = serverName('unchecked', slot);
  return [
    `set server any/${unchecked} state maint`,
    `set server app/${main} state maint`,
    ...['app', 'once'].map((backend) => `shutdown sessions server ${backend}/${reserve}`),
    `shutdown sessions server once/${main}`,
    `shutdown sessions server any/${unchecked}`,
  ];
}

function fill(slot: number, has: SlotState, had: SlotState | undefined): string[] {
  const commands: string[] = [];
  for (const backend of backends) {
    for (const kind of kindsIn[backend]) {
      const server = `${backend}/${serverName(kind, slot)}`;
      const key = kind === 'main' ? 'weight' : 'reserveWeight';
      if (had === undefined) commands.push(`set server ${server} addr ${has.host} port ${has.port}`);
      if (had?.[key] !== has[key]) commands.push(`set server ${server} weight ${has[key]}`);
    }
  }
  if (had?.listed !== has.listed) {
    commands.push(`set server any/${serverName('unchecked', slot)} state ${has.listed ? 'ready' : 'maint'}`);
  }
  if (had !== undefined) return commands;
  // Its agent is believed, as if all checks so far had been good: whoever waits for it waits no longer.
  const checked = `app/${serverName('main', slot)}`;
  return [...commands, `set server ${checked} state ready`, `set server ${checked} health up`];
}

/** So many lines of one payload; HAProxy takes a command up to the size of its buffer. */
const payloadLines = 200;

function additions(
  from: ReadonlyMap<string, string>,
  to: ReadonlyMap<string, string>,
  file: string,
): string[] {
  const fresh = [...to].filter(([key]) => !from.has(key)).map(([key, value]) => `${key} ${value}`);
  const changed = [...to].filter(([key, value]) => from.has(key) && from.get(key) !== value);
  const commands = changed.map(([key, value]) => `set map ${file} ${key} ${value}`);
  for (let at = 0; at < fresh.length; at += payloadLines) {
    commands.push(`add map ${file} <<\n${fresh.slice(at, at + payloadLines).join('\n')}\n`);
  }
  return commands;
}

const removals = (
  from: ReadonlyMap<string, string>,
  to: ReadonlyMap<string, string>,
  file: string,
): string[] => [...from.keys()].filter((key) => !to.has(key)).map((key) => `del map ${file} ${key}`);

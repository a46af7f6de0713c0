import { join } from 'node:path';
import { HoldfastError } from '../../support/errors.ts';

/** Where one HAProxy and everything that belongs to it lives: one folder, for its owner alone. */
export interface HaproxyPlace {
  /** An absolute path. It is made when it is missing. */
  readonly folder: string;
  /** Left out: `haproxy`, wherever the system finds it. */
  readonly binary?: string;
  /** How many instances it can serve without a reload; left out: 32. */
  readonly slots?: number;
}

export const defaultSlots = 32;

export interface PlaceFiles {
  readonly config: string;
  readonly log: string;
  readonly pid: string;
  readonly owner: string;
  readonly lua: string;
  readonly pages: string;
  readonly certificates: string;
  /** Maps that are filled at run time; HAProxy wants the files to be there when it starts. */
  readonly owners: string;
  readonly cookies: string;
  readonly names: string;
  readonly buckets: string;
  readonly flags: string;
  /** Sockets. */
  readonly runtime: string;
  readonly master: string;
  readonly once: string;
  readonly door: string;
  readonly room: string;
}

export function filesIn(folder: string): PlaceFiles {
  const at = (name: string) => join(folder, name);
  return {
    config: at('haproxy.cfg'),
    log: at('haproxy.log'),
    pid: at('haproxy.pid'),
    owner: at('owner'),
    lua: at('connection.lua'),
    pages: at('pages.map'),
    certificates: at('certificates.list'),
    owners: at('owners.map'),
    cookies: at('cookies.map'),
    names: at('names.map'),
    buckets: at('buckets.map'),
    flags: at('flags.map'),
    runtime: at('runtime.sock'),
    master: at('master.sock'),
    once: at('once.sock'),
    door: at('door.sock'),
    room: at('room.sock'),
  };
}

/** What the system allows for the path of a socket, less what HAProxy appends to it while it starts. */
const longestSocketPath = 107 - 16;

/** Refuses a folder in which no socket could be made, before HAProxy says it in its own words. */
export function checkFolder(folder: string): void {
  const { runtime, master, once, door, room } = filesIn(folder);
  const longest = Math.max(...[runtime, master, once, door, room].map((path) => Buffer.byteLength(path)));
  if (longest <= longestSocketPath && !/[\s'"\\#$]/.test(folder)) return;
  throw new HoldfastError(
    'CONFIGURATION_INVALID',
    `HAProxy cannot keep its sockets in ${JSON.stringify(folder)}`,
    {
      remedy: `Use a folder whose path has at most ${longestSocketPath - 13} bytes, no spaces and no quotes.`,
    },
  );
}

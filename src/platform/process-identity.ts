/**
 * Who a process is, beyond its number. Numbers are used again, after a reboot from the beginning; so a number in
 * a file proves nothing. A number together with the moment of its start, the boot in which that was and the
 * process name space in which the number counts is one process and no other.
 *
 * `isAlive` gives evidence, in both directions, or says that there is none. A wrong `dead` lets two executors
 * work at once, a wrong `unknown` costs one lease time; so every doubt is `unknown`:
 * - the same boot and another name space: the number means something else there, we cannot look;
 * - another boot proves death only if it was a boot of *this* machine. A state directory may lie on shared
 *   storage or move with a container, and then the other boot may be another machine that is running now. The
 *   machine's id and host name tell, but inside a container both are whatever the image says, so they count
 *   only where reader and writer were outside of one.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { findProcess, type ProcessEntry } from './process-table.ts';

/** Where and when process numbers have their meaning. Empty text where the system does not tell. */
export interface ProcessScope {
  readonly machine: string;
  readonly bootId: string;
  readonly pidNamespace: string;
}

export interface ProcessIdentity extends ProcessScope {
  readonly pid: number;
  readonly startedAt: string;
}

export type Liveness = 'alive' | 'dead' | 'unknown';

/** The name space of a Linux system outside of any container has this fixed number. */
const outermostNamespace = 'pid:[4026531836]';

let scope: ProcessScope | undefined;

/** The identity of a process that lives now; undefined when there is none with this number. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  const entry = findProcess(pid);
  return entry && !entry.zombie ? { pid, startedAt: entry.startedAt, ...ownScope() } : undefined;
}

export function isAlive(identity: ProcessIdentity): Liveness {
  return judge(identity, ownScope(), lookUp);
}

/** The decision alone, with what can be seen as arguments. */
export function judge(
  identity: ProcessIdentity,
  here: ProcessScope,
  look: (pid: number) => ProcessEntry | 'none' | 'hidden',
): Liveness {
  if (identity.bootId !== here.bootId) return bootIsOver(identity, here) ? 'dead' : 'unknown';
  if (identity.pidNamespace !== here.pidNamespace) return 'unknown';
  const found = look(identity.pid);
  if (found === 'hidden') return 'unknown';
  if (found === 'none' || found.zombie) return 'dead';
  return found.startedAt === identity.startedAt ? 'alive' : 'dead';
}

function bootIsOver(identity: ProcessIdentity, here: ProcessScope): boolean {
  const known = identity.machine !== '' && identity.bootId !== '' && here.bootId !== '';
  const outside = [identity, here].every(({ pidNamespace }) => pidNamespace === outermostNamespace);
  return known && outside && identity.machine === here.machine;
}

function lookUp(pid: number): ProcessEntry | 'none' | 'hidden' {
  try {
    const entry = findProcess(pid);
    if (entry) return entry;
    process.kill(pid, 0);
    // It can be signalled and not be read: it may be a stranger's, or it came into being just now.
    return findProcess(pid) ?? 'hidden';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? 'none' : 'hidden';
  }
}

function ownScope(): ProcessScope {
  scope ??= {
    machine: machineName(),
    bootId:
      process.platform === 'darwin'
        ? sysctl('kern.bootsessionuuid')
        : textOf('/proc/sys/kernel/random/boot_id'),
    pidNamespace: namespaceOf('/proc/self/ns/pid'),
  };
  return scope;
}

function machineName(): string {
  const id = textOf('/etc/machine-id');
  return id === '' ? '' : `${id}/${hostname()}`;
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    // This system has no such file: it does not tell.
    return '';
  }
}

function namespaceOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    // This system has no name spaces for processes.
    return '';
  }
}

function sysctl(name: string): string {
  return spawnSync('sysctl', ['-n', name], { encoding: 'utf8' }).stdout?.trim() ?? '';
}

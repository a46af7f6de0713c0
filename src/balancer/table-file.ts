import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { type InstanceState, instanceStates } from '../protocol/instance-state.ts';
import type { RoutedInstance, RoutingTable } from '../protocol/routing-table.ts';
import { type Log, silentLog } from '../support/log.ts';

/**
 * The last routing table, kept on disk, so that a balancer that is restarted while the arbiter is away still knows
 * where to send its users. The file is written whole beside its place and then renamed into it: whoever reads sees
 * the old table or the new one. It holds the key of the sticky cookie, so only its owner may read it. It is a copy of
 * something that the arbiter will tell again; a broken file is therefore reported and ignored.
 */
export interface TableFile {
  /** The table, or undefined where there is none that can be used. Never throws. */
  load(): Promise<RoutingTable | undefined>;
  /** Writes the table unless it is the one that was written last. Never throws: traffic does not depend on it. */
  save(table: RoutingTable): Promise<void>;
}

export function tableFile(path: string, log: Log = silentLog): TableFile {
  let lastWritten: string | undefined;
  let wanted: string | undefined;
  let writing = Promise.resolve();

  const writeWanted = async () => {
    const text = wanted;
    if (text === undefined || text === lastWritten) return;
    try {
      await writeAtomically(path, text);
      lastWritten = text;
    } catch (error) {
      log.warn({ path, reason: messageOf(error) }, 'the routing table could not be written to disk');
    }
  };

  return {
    async load() {
      let text: string;
      try {
        text = await readFile(path, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        log.warn(
          { path, reason: messageOf(error) },
          'the routing table on disk cannot be read; going on without',
        );
        return undefined;
      }
      const table = parseTable(text);
      if (typeof table !== 'string') return table;
      log.warn({ path, reason: table }, 'the routing table on disk is broken; going on without');
      return undefined;
    },
    save(table) {
      wanted = `${JSON.stringify({ version: 1, ...table }, null, 2)}\n`;
      // One write at a time, each of what is wanted when its turn comes: the newest table is always the last one.
      writing = writing.then(writeWanted);
      return writing;
    },
  };
}

async function writeAtomically(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** The table, or a sentence that says what is wrong with the text. It never quotes the text: it holds a secret. */
function parseTable(text: string): RoutingTable | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'it is not JSON'; // the parser's own message would quote the text
  }
  if (!isRecord(value)) return 'it is not an object';
  const { version, cluster, stickyKey, instances } = value;
  if (version !== 1) return 'its version is not 1';
  if (typeof cluster !== 'string') return 'cluster is not a text';
  if (typeof stickyKey !== 'string' || Buffer.from(stickyKey, 'base64url').length !== 32) {
    return 'stickyKey is not 32 bytes in base64url';
  }
  if (!Array.isArray(instances)) return 'instances is not a list';
  const routed: RoutedInstance[] = [];
  for (const [index, entry] of instances.entries()) {
    const instance = parseInstance(entry);
    if (instance === undefined) return `instances[${index}] is not an instance with host, port and state`;
    routed.push(instance);
  }
  return { cluster, stickyKey, instances: routed };
}

function parseInstance(value: unknown): RoutedInstance | undefined {
  if (!isRecord(value)) return undefined;
  const { instance, host, port, state } = value;
  if (typeof instance !== 'string' || typeof host !== 'string' || host === '') return undefined;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) return undefined;
  if (!instanceStates.includes(state as InstanceState)) return undefined;
  return { instance, host, port, state: state as InstanceState };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

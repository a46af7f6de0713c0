/** What this agent writes down of itself and of the process groups it started, so that its successor can prove them dead. */
import { type AgentRecord, type ProcessIdentity, processIdentity, writeRecord } from '../platform/index.ts';

export interface RecordKeeper {
  /** The instance's process group, before the application runs in it. */
  instanceStarted(pid: number, port: number): Promise<void>;
  /** A command's process group, before the command runs in it. */
  commandStarted(pid: number): Promise<void>;
  commandEnded(pid: number): void;
}

export async function keepRecord(
  stateFolder: string,
  instance: string,
  self: { readonly agentId: string; readonly agent: ProcessIdentity },
): Promise<RecordKeeper> {
  let record: AgentRecord = self;
  const commands = new Map<number, ProcessIdentity>();
  let written: Promise<void> = Promise.resolve();
  /** One after the other, so that an older record never replaces a newer one. */
  const write = (): Promise<void> => {
    const next = written.then(() =>
      writeRecord(stateFolder, instance, { ...record, commandGroups: [...commands.values()] }),
    );
    written = next.catch(() => undefined); // told to whoever waits for this write
    return next;
  };
  await write();
  return {
    async instanceStarted(pid, port) {
      record = { ...self, port, processGroup: identityOf(pid) };
      await write();
    },
    async commandStarted(pid) {
      commands.set(pid, identityOf(pid));
      await write();
    },
    commandEnded(pid) {
      commands.delete(pid); // a record that names a group too many is harmless; it goes with the next write
    },
  };
}

function identityOf(pid: number): ProcessIdentity {
  const identity = processIdentity(pid);
  if (!identity) throw new Error(`the new process ${pid} ended before it ran`);
  return identity;
}

/**
 * Agents without `holdfast up`: each a process that the test owns. Nobody starts one again unless the test does, so
 * killing an agent with its instance is what the loss of a whole host is to the others.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parentDeathSignalPrefix } from '../../src/platform/index.ts';
import { until } from './cluster.fixture.ts';
import type { EventsFolder, EventsView } from './events.fixture.ts';

const program = resolve(import.meta.dirname, '../../src/cli/main.ts');

export interface AgentProcess {
  readonly name: string;
  readonly pid: number;
  /** What it logged, oldest first. */
  readonly messages: { readonly atMs: number; readonly text: string }[];
  readonly exited: Promise<void>;
  signal(name: NodeJS.Signals): void;
}

export interface Member {
  readonly instance: string;
  readonly state: string;
  readonly incarnation: number;
  readonly pid: number;
  readonly agentPid: number;
  readonly leaseUntilMs: number;
  readonly renewedMs: number;
  readonly token: string;
}

export interface Agents {
  get(instance: string): AgentProcess;
  /** Starts it, or starts it again under the same name. */
  start(instance: string): Promise<AgentProcess>;
  member(instance: string): Promise<Member>;
  /** Starts what has ended, and waits until every instance is up. */
  allUp(limitMs?: number): Promise<void>;
  dispose(): Promise<void>;
}

export const instances = ['work-1', 'work-2', 'work-3'] as const;

export async function startAgents(
  { folder, configFile }: EventsFolder,
  view: Pick<EventsView, 'query'>,
): Promise<Agents> {
  const agents = new Map<string, AgentProcess>();

  async function start(name: string): Promise<AgentProcess> {
    // Should the test be killed, its agents die with it.
    const [first = '', ...args] = [
      ...(await parentDeathSignalPrefix()),
      process.execPath,
      program,
      ...['agent', '--instance', name, '-c', configFile, '--state', join(folder, 'state')],
    ];
    const child = spawn(first, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const agent = { name, pid: child.pid ?? 0, messages: messagesOf(child), exited: exitOf(child), signal };
    agents.set(name, agent);
    return agent;

    function signal(wanted: NodeJS.Signals): void {
      child.kill(wanted);
    }
  }

  const members = () =>
    view.query<Member>(
      `select instance, state, incarnation::int, (facts ->> 'pid')::int as pid, token::text,
         (facts ->> 'agentPid')::int as "agentPid", holdfast.ms(lease_until) as "leaseUntilMs",
         holdfast.ms(renewed_at) as "renewedMs"
       from holdfast.member order by instance`,
    );
  const hasEnded = new Set<AgentProcess>();

  const result: Agents = {
    get(instance) {
      const agent = agents.get(instance);
      if (!agent) throw new Error(`no agent ${instance}`);
      return agent;
    },
    async start(instance) {
      const agent = await start(instance);
      void agent.exited.then(() => hasEnded.add(agent));
      return agent;
    },
    async member(instance) {
      const found = (await members()).find((one) => one.instance === instance);
      if (!found) throw new Error(`no member ${instance}`);
      return found;
    },
    async allUp(limitMs = 30_000) {
      await until(
        async () => {
          for (const [name, agent] of agents) if (hasEnded.has(agent)) await result.start(name);
          return members();
        },
        (all) => [...agents].every(([name, { pid }]) => all.some((one) => isUp(one, name, pid))),
        limitMs,
      );
    },
    async dispose() {
      for (const agent of agents.values()) {
        agent.signal('SIGCONT');
        agent.signal('SIGINT');
        const late = setTimeout(() => agent.signal('SIGKILL'), 10_000);
        await agent.exited;
        clearTimeout(late);
      }
    },
  };
  for (const instance of instances) await result.start(instance);
  await result.allUp(40_000);
  return result;
}

const isUp = ({ instance, state, agentPid }: Member, name: string, pid: number): boolean =>
  instance === name && state === 'up' && agentPid === pid;

function messagesOf(child: ChildProcess): AgentProcess['messages'] {
  const messages: { atMs: number; text: string }[] = [];
  const keep = (line: string) => messages.push({ atMs: Date.now(), text: line });
  if (child.stdout) createInterface({ input: child.stdout }).on('line', keep);
  if (child.stderr) createInterface({ input: child.stderr }).on('line', keep);
  return messages;
}

const exitOf = (child: ChildProcess): Promise<void> =>
  new Promise((done) => {
    child.once('error', () => done());
    child.once('close', () => done());
  });

/**
 * The agent: the process beside one instance. It keeps a membership (LeaseKeeper), an instance (InstanceKeeper) and
 * its part in scheduled events, and tells each what it must know of the others; the decisions are in those and in
 * src/protocol.
 *
 * Order of a start: prove the predecessor dead, record oneself, join, lift a fence, start the instance. Order of a
 * stop, the reverse: drain, end or hand over what runs, stop the instance, report what ran, leave, remove the record.
 * What ran is over at the latest when the instance is dead, so it is free for others no earlier (P1). An agent that
 * never joined never starts anything.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Arbiter } from '../database/arbiter.ts';
import { Gate } from '../events/execution/gate.ts';
import { LeaseKeeper } from '../members/lease-keeper.ts';
import type { MemberFacts } from '../members/membership.ts';
import { type Platform, processIdentity, proveDeaths, removeRecord } from '../platform/index.ts';
import type { InstanceState } from '../protocol/instance-state.ts';
import { stopWorkMs } from '../protocol/lease.ts';
import type { Configuration } from '../settings/index.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { type DrainOptions, drain, drainForMaintenance } from './drain.ts';
import { InstanceDuty } from './duty.ts';
import type { AgentFacts } from './environment.ts';
import { type AgentEvents, startEvents } from './events.ts';
import { passFence } from './fence-pass.ts';
import { keepInstance } from './instance.ts';
import { openLoopback } from './loopback.ts';
import { openHealthPage } from './page.ts';
import { keepRecord } from './record.ts';
import { verdictOf } from './state-of-agent.ts';
import { succeedLeader } from './succession.ts';

export interface AgentOptions {
  readonly arbiter: Arbiter;
  readonly configuration: Configuration;
  readonly revision: number;
  readonly instance: string;
  readonly stateFolder: string;
  readonly host: string;
  /** Of Holdfast. */
  readonly version: string;
  /** The host name or address under which balancers reach the instance; null: the platform's own. */
  readonly advertise: string | null;
  readonly platform: Platform;
  /** The port that the configuration gives this instance; null: a free one. */
  readonly port: number | null;
  /** The environment of the instance, given the agent's address and secret. */
  readonly environment: (facts: AgentFacts) => Record<string, string>;
  /** Handed on to the instance. */
  readonly probeSecret: string;
  /** What the address of the alarm hook expects; undefined: nothing. */
  readonly alarmSecret: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Agent {
  /** Resolves when the agent has stopped; rejects with INSTANCE_HELD or a defect. */
  readonly finished: Promise<void>;
  /** Drains first if asked; a second call that does not ask cuts the drain short. */
  stop(options: { readonly drain: boolean }): void;
}

export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { arbiter, configuration, instance, clock, log, stateFolder } = options;
  const { health } = configuration.app;
  const agentId = randomUUID();
  const agentSecret = randomBytes(24).toString('base64url');
  const cutDrain = new AbortController();
  const stopAsked = Promise.withResolvers<void>();
  const intentions = {
    stopping: false,
    maintenance: [] as readonly string[],
    drained: false,
    restarting: false,
  };

  const agent = processIdentity(process.pid);
  if (!agent) throw new Error('the agent cannot see its own process');
  const deaths = await proveDeaths(stateFolder, instance, { log });
  if (deaths.dead.length > 0) {
    log.info({ instance, agents: deaths.dead.length }, 'the previous agent and its instance are dead');
  }
  const record = await keepRecord(stateFolder, instance, { agentId, agent });

  let onChange: () => void = () => undefined;
  const { keeper, environment } = keepInstance({
    instance,
    app: configuration.app,
    platform: options.platform,
    port: options.port,
    environment: () =>
      options.environment({ agentUrl: loopback.url, agentSecret, probeSecret: options.probeSecret }),
    duties: {
      leader: { claim: () => leader.claim(), release: (how) => leader.release(how) },
      database: { claim: () => database.claim(), release: (how) => database.release(how) },
    },
    record,
    clock,
    log,
    onChange: () => onChange(),
  });

  const verdict = () => verdictOf(keeper.report(), intentions);
  const facts = (): MemberFacts => {
    const { address, pid } = keeper.report();
    return {
      host: options.host,
      agentPid: process.pid,
      address: address && { host: options.advertise ?? address.host, port: address.port },
      pid,
      revision: options.revision,
      version: options.version,
      healthPage: page.url,
      reason: verdict().reason,
      ...(configuration.fence ? { fence: true } : {}),
      ...(leader.isHeld ? { leader: true } : {}),
    };
  };
  const page = await openHealthPage(health.listen, () => ({
    instance,
    ...(verdict() satisfies { state: InstanceState }),
    lease: { held: lease.mayAct(), required: health.requireLease },
  }));

  const started = Promise.withResolvers<void>();
  const lease: LeaseKeeper = new LeaseKeeper({
    query: arbiter.query,
    clock,
    random: Math.random,
    log,
    instance,
    agentId,
    provedDead: deaths.dead,
    lease: configuration.lease,
    report: () => ({ state: verdict().state, facts: facts() }),
    on: {
      joined(member) {
        log.info(
          { instance, incarnation: member.incarnation },
          `${instance} joined as incarnation ${member.incarnation}`,
        );
        started.resolve();
      },
      renewed(result) {
        intentions.maintenance = result.maintenance;
        if (result.maintenance.length === 0) {
          intentions.drained = false;
          events.resume();
        }
        events.renewed(result);
        for (const duty of [leader, database]) duty.renewed(result);
      },
      expired: (why) => {
        events.expired(why);
        for (const duty of [leader, database]) duty.expired();
        if (!intentions.stopping) log.warn({ notice: true, instance }, `${instance} has no lease: ${why}`);
      },
    },
  });

  const duty = (name: string, words: string) =>
    new InstanceDuty({ query: arbiter.query, name, words, instance, lease, log });
  const leader = duty('leader', 'is the leader');
  const database = duty('database', "looks after the application's database");
  const gate = new Gate({ instanceDied: () => keeper.ended() });
  const events: AgentEvents = startEvents({
    arbiter,
    configuration,
    revision: options.revision,
    alarmSecret: options.alarmSecret,
    lease,
    instance,
    isEligible: () => verdict().state === 'up',
    stopInstance: () => keeper.kill(),
    address: () => keeper.report().address,
    instanceDied: () => keeper.ended(),
    agentSecret,
    directory: configuration.app.workingDirectory,
    environment,
    record,
    gate,
    stopWorkMs: stopWorkMs(configuration.lease.ttlMs),
    clock,
    log,
  });
  const loopback = await openLoopback(agentSecret, events.api);
  onChange = () => {
    lease.announce();
    events.changed();
  };
  const { query } = arbiter;
  const draining: DrainOptions = {
    log,
    query,
    instance,
    limitMs: configuration.app.stop.drainMs,
    events,
    clock,
    cut: cutDrain.signal,
    announce: () => onChange(),
  };

  async function run(): Promise<void> {
    const end = new AbortController();
    const membership = lease.run();
    const ended = membership.then(() => 'ended' as const);
    const background = Promise.all([
      drainForMaintenance(intentions, draining, end.signal),
      succeedLeader({ ...draining, leader, keeper, intentions }, end.signal),
    ]);
    let running: Promise<void> = Promise.resolve();
    try {
      const first = await Promise.race([
        started.promise,
        stopAsked.promise.then(() => 'stop' as const),
        ended,
      ]);
      if (first !== undefined) return;
      const { fence } = configuration;
      const { dead } = deaths;
      const passed = passFence({ query, instance, fence, dead, clock, log }, end.signal);
      await Promise.race([passed, stopAsked.promise, ended]);
      if (intentions.stopping) return;
      // Not before the fence: until then they are what proves the former ones dead, to a successor of ours as well.
      const replaced = [...deaths.dead, ...deaths.unproved.map((one) => one.agentId)];
      await Promise.all(replaced.map((former) => removeRecord(stateFolder, instance, former)));
      running = keeper.run();
      await Promise.race([stopAsked.promise, ended, running]);
      if (!cutDrain.signal.aborted) {
        log.info({ notice: true, instance }, `${instance} drains before it stops`);
        await drain(draining);
      }
    } finally {
      intentions.stopping = true;
      end.abort();
      await events.abort();
      await keeper.stop();
      await running;
      await events.close();
      await lease.close();
      await membership.catch(() => undefined); // reported by the race above
      await background;
      await loopback.close();
      await page.close();
      await removeRecord(stateFolder, instance, agentId);
      log.info({ instance }, `${instance} has stopped`);
    }
  }

  return {
    finished: run(),
    stop({ drain }) {
      if (!drain) cutDrain.abort();
      intentions.stopping = true;
      stopAsked.resolve();
    },
  };
}

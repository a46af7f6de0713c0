/** The environment of an instance: what the configuration says, and how the application reaches its agent. */
import { probeSecretVariable } from '../protocol/probe.ts';

/** What only the agent knows. */
export interface AgentFacts {
  readonly agentUrl: string;
  readonly agentSecret: string;
  /** What the doctor and the probe in the application know each other by. */
  readonly probeSecret: string;
}

export interface InstanceEnvironment extends AgentFacts {
  readonly instance: string;
  readonly cluster: string;
  readonly appUrl: string | undefined;
  readonly databaseUrl: string;
  readonly sessions: {
    readonly idleMs: number;
    readonly absoluteMs: number;
    readonly away: string;
    readonly encryptionKey?: string | undefined;
  };
  readonly filesDirectory: string | undefined;
  /** From the configuration, secrets resolved. */
  readonly configured: Readonly<Record<string, string>>;
}

/** Configured values cannot replace ours: HOLDFAST_* (and PORT, which the platform adds) are facts, not settings. */
export function instanceEnvironment(facts: InstanceEnvironment): Record<string, string> {
  return {
    ...facts.configured,
    HOLDFAST_INSTANCE: facts.instance,
    HOLDFAST_CLUSTER: facts.cluster,
    HOLDFAST_DATABASE: facts.databaseUrl,
    HOLDFAST_AGENT_URL: facts.agentUrl,
    HOLDFAST_AGENT_SECRET: facts.agentSecret,
    [probeSecretVariable]: facts.probeSecret,
    HOLDFAST_SESSIONS: JSON.stringify(facts.sessions),
    ...(facts.appUrl === undefined ? {} : { HOLDFAST_APP_URL: facts.appUrl }),
    ...(facts.filesDirectory === undefined ? {} : { HOLDFAST_FILES: facts.filesDirectory }),
  };
}

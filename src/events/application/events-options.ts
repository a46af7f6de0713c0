/** What the events are told: by the agent in the environment, and by the application in the call, which wins. */
import type { Arbiter } from '../../database/arbiter.ts';
import type { Clock } from '../../support/clock.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { Log } from '../../support/log.ts';

export interface EventsOptions {
  /** Where the agent answers. Default: HOLDFAST_AGENT_URL. */
  readonly agentUrl?: string;
  /** What agent and application know each other by. Default: HOLDFAST_AGENT_SECRET. */
  readonly agentSecret?: string;
  /** For `run.transaction`: a URL, or a connection that the caller closes. Default: HOLDFAST_DATABASE. */
  readonly database?: string | Arbiter;
  /** Default: /holdfast/events. */
  readonly basePath?: string;
  readonly clock?: Clock;
  readonly log?: Log;
}

export interface AgentAddress {
  readonly url: string;
  readonly secret: string;
}

export interface ResolvedOptions {
  /** Undefined: the application runs without an agent, and no event comes. */
  readonly agent: AgentAddress | undefined;
  readonly database: string | Arbiter | undefined;
  readonly basePath: string;
}

export const withoutAgent =
  'This application was not started by a Holdfast agent: HOLDFAST_AGENT_URL and HOLDFAST_AGENT_SECRET are not set.';

/** Throws CONFIGURATION_INVALID where something was given that cannot be used; what is missing is no error. */
export function resolveOptions(
  options: EventsOptions,
  environment: Readonly<Record<string, string | undefined>>,
): ResolvedOptions {
  const url = (options.agentUrl ?? environment.HOLDFAST_AGENT_URL) || undefined;
  const secret = (options.agentSecret ?? environment.HOLDFAST_AGENT_SECRET) || undefined;
  if (url !== undefined && !/^https?:$/.test(URL.parse(url)?.protocol ?? '')) {
    throw invalid(`The agent's address "${url}" is not an http URL`);
  }
  const basePath = options.basePath ?? '/holdfast/events';
  if (!/^(\/[\w.~-]+)+$/.test(basePath)) {
    throw invalid(`basePath "${basePath}" must be a path such as /holdfast/events`);
  }
  return {
    agent: url === undefined || secret === undefined ? undefined : { url: url.replace(/\/+$/, ''), secret },
    database: (options.database ?? environment.HOLDFAST_DATABASE) || undefined,
    basePath,
  };
}

function invalid(message: string): HoldfastError {
  return new HoldfastError('CONFIGURATION_INVALID', `${message}.`);
}

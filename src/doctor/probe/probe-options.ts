/** What the probe is told: by the agent in the environment, and by the application in the call, which wins. */
import type { IncomingMessage } from 'node:http';
import { isAbsolute } from 'node:path';
import { defaultProbePath, probeSecretVariable } from '../../protocol/probe.ts';
import { HoldfastError } from '../../support/errors.ts';

/** A request of Express, Fastify or Node, as far as the probe looks at it. */
export interface ProbeRequest {
  readonly headers: IncomingMessage['headers'];
  /** The client's address as the framework works it out from the proxies that it trusts. */
  readonly ip?: string | undefined;
  readonly socket: { readonly remoteAddress?: string | undefined };
  /** Of express-session, @fastify/session, or anything that has `save` and `destroy` with a callback. */
  readonly session?: unknown;
}

/** Where files that every instance must see are kept, when it is not a directory. */
export interface ProbeFiles {
  write(name: string, content: string): Promise<void>;
  /** Undefined where there is no such file. */
  read(name: string): Promise<string | undefined>;
  remove(name: string): Promise<void>;
}

export interface ProbeOptions {
  /** Default: HOLDFAST_PROBE_SECRET. Without one the probe refuses every question. */
  readonly secret?: string;
  /** Default: /holdfast/probe. */
  readonly path?: string;
  /** Default: HOLDFAST_INSTANCE. */
  readonly instance?: string;
  /** The address that the application writes into links and mails. Default: HOLDFAST_APP_URL. */
  readonly rootUrl?: string | (() => string);
  /** A directory, or what stands in its place. Default: HOLDFAST_FILES, where that is a directory. */
  readonly files?: string | ProbeFiles;
  /** Rejects where the application cannot reach its database. */
  readonly database?: () => Promise<unknown>;
  /**
   * The status that the health check would answer if the database were away; `why`, where it is meant to be a good
   * one all the same.
   */
  readonly healthWithoutDatabase?: () => Promise<{ readonly status: number; readonly why?: string }>;
  /** Settings that must be the same on every instance. Only digests of them are told. */
  readonly settings?: () => Readonly<Record<string, string | number | boolean>>;
  /** Events whose work is on what belongs to one instance alone, such as its temporary files. */
  readonly ownWork?: readonly string[];
}

export interface ResolvedProbe {
  readonly secret: string | undefined;
  readonly path: string;
  readonly instance: string | undefined;
  readonly rootUrl: () => string | undefined;
  readonly files: string | ProbeFiles | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly options: ProbeOptions;
}

/** Throws CONFIGURATION_INVALID. */
export function resolveProbe(
  options: ProbeOptions,
  environment: Readonly<Record<string, string | undefined>>,
): ResolvedProbe {
  const path = options.path ?? defaultProbePath;
  if (!/^(\/[\w.~-]+)+$/.test(path)) {
    throw new HoldfastError('CONFIGURATION_INVALID', `The path of the probe, "${path}", is none.`, {
      remedy: `Write it as ${defaultProbePath}.`,
    });
  }
  const { rootUrl } = options;
  return {
    secret: (options.secret ?? environment[probeSecretVariable]) || undefined,
    path,
    instance: (options.instance ?? environment.HOLDFAST_INSTANCE) || undefined,
    rootUrl: typeof rootUrl === 'function' ? rootUrl : () => rootUrl ?? environment.HOLDFAST_APP_URL,
    files: options.files ?? directoryIn(environment.HOLDFAST_FILES),
    environment,
    options,
  };
}

/** The variable may describe a bucket instead, which only the application knows how to reach. */
const directoryIn = (text: string | undefined): string | undefined =>
  text !== undefined && isAbsolute(text) ? text : undefined;

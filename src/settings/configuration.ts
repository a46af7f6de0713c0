/**
 * The configuration as the code uses it: every default filled in, every duration in milliseconds, every name known.
 * Secrets are still references here; they become values only on the host that uses them (secrets.ts). What a key
 * means is written at its definition in the schema, and in docs/configuration.md.
 */
import type { RestartRules } from '../protocol/restart.ts';
import type { Address, SecretReference } from './values.ts';

export interface Configuration {
  readonly cluster: string;
  /** Undefined: an embedded PostgreSQL beside the file. */
  readonly database: DatabaseSettings | undefined;
  readonly app: AppSettings;
  readonly balancer: BalancerSettings;
  readonly sessions: SessionSettings;
  /** Undefined: the application keeps no shared files. */
  readonly files: FileSettings | undefined;
  readonly lease: LeaseSettings;
  /** In the order of their names, which is the same for everyone who reads the same revision. */
  readonly events: readonly EventSettings[];
}

export interface DatabaseSettings {
  readonly url: string;
  readonly password: SecretReference | undefined;
}

export interface AppSettings {
  readonly platform: 'process' | 'mendix' | 'external';
  /** Always there for the platform `process`, never for `external`. */
  readonly command: string | undefined;
  /** Absolute. */
  readonly workingDirectory: string;
  readonly instances: readonly InstanceSettings[];
  readonly port: number | undefined;
  readonly url: string | undefined;
  readonly health: HealthSettings;
  readonly stop: StopSettings;
  readonly restart: RestartRules;
  readonly environment: Readonly<Record<string, string | SecretReference>>;
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface InstanceSettings {
  readonly name: string;
  /** Only, and always, for the platform `external`. */
  readonly url: string | undefined;
}

export interface HealthSettings {
  readonly path: string;
  readonly everyMs: number;
  readonly timeoutMs: number;
  readonly unhealthyAfter: number;
  readonly healthyAfter: number;
  readonly startWithinMs: number;
  /** Infinity: an unhealthy instance is never restarted. */
  readonly restartAfterMs: number;
  readonly requireLease: boolean;
  readonly listen: Address;
}

export interface StopSettings {
  readonly drainMs: number;
  readonly killMs: number;
}

export interface BalancerSettings {
  readonly listen: Address;
  readonly engine: 'embedded' | 'haproxy';
  readonly sticky: { readonly cookie: string };
  readonly trustedProxies: readonly string[];
  readonly holdMs: number;
}

export interface SessionSettings {
  readonly idleMs: number;
  readonly absoluteMs: number;
  readonly away: 'fail' | 'readonly' | 'defer';
  readonly encryptionKey: SecretReference | undefined;
}

export type FileSettings =
  | { readonly kind: 'directory'; readonly directory: string /* absolute */ }
  | {
      readonly kind: 's3';
      readonly bucket: string;
      readonly endpoint: string | undefined;
      readonly region: string;
      readonly prefix: string;
      readonly forcePathStyle: boolean;
      readonly accessKeyId: SecretReference | undefined;
      readonly secretAccessKey: SecretReference | undefined;
    };

export interface LeaseSettings {
  readonly ttlMs: number;
  readonly heartbeatMs: number;
}

export interface EventSettings {
  readonly name: string;
  /** Undefined only where `on` is designated and nothing is to be run. */
  readonly schedule: EventSchedule | undefined;
  readonly timezone: string;
  readonly run: EventRun | undefined;
  readonly on: EventPlace;
  readonly overlap: 'skip' | 'delay' | 'allow';
  readonly missed: EventMissed;
  readonly lost: 'rerun' | 'abandon';
  readonly timeoutMs: number;
  readonly retry: { readonly times: number; readonly backoffMs: number; readonly maxBackoffMs: number };
  readonly payload: unknown;
  readonly limit: number;
}

export interface TimeOfDay {
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
}

/** Days of the week count from 1 (Monday) to 7 (Sunday), months from 1 to 12, both as ISO 8601 does. */
export type EventSchedule =
  | { readonly kind: 'cron'; readonly cron: string }
  | { readonly kind: 'every'; readonly everyMs: number }
  | { readonly kind: 'weekly'; readonly weekdays: readonly number[]; readonly at: TimeOfDay }
  | { readonly kind: 'monthly'; readonly day: number | 'last'; readonly at: TimeOfDay }
  | {
      readonly kind: 'monthlyWeekday';
      readonly weekday: number;
      readonly which: 'first' | 'second' | 'third' | 'fourth' | 'last';
      readonly at: TimeOfDay;
    }
  | {
      readonly kind: 'yearly';
      readonly month: number;
      readonly day: number | 'last';
      readonly at: TimeOfDay;
    };

export type EventRun =
  | { readonly kind: 'post'; readonly path: string }
  | { readonly kind: 'command'; readonly command: string }
  | { readonly kind: 'gate' };

export type EventPlace =
  | { readonly kind: 'one' }
  | { readonly kind: 'each' }
  | { readonly kind: 'designated' }
  | { readonly kind: 'prefer'; readonly instance: string };

export type EventMissed =
  | { readonly kind: 'latest' }
  | { readonly kind: 'none' }
  | { readonly kind: 'all'; readonly count: number; readonly ageMs: number };

/**
 * The configuration as the code uses it: every default filled in, every duration in milliseconds, every name known.
 * Secrets are still references here; they become values only on the host that uses them (secrets.ts). What a key
 * means is written at its definition in the schema, and in docs/configuration.md.
 */
import type {
  AccessLogOptions,
  CertificateFiles,
  DrainOptions,
  Limits,
  ProxyProtocolOptions,
  RouteOptions,
  StickyOptions,
} from '../balancer/engine.ts';
import type { MendixPlatformOptions } from '../platform/mendix/mendix.ts';
import type { ScheduledEvents } from '../platform/mendix/runtime-settings.ts';
import type { CalendarSettings } from '../protocol/calendar/schedule.ts';
import type { RestartRules } from '../protocol/restart.ts';
import type { Address, SecretReference } from './values.ts';

export type {
  CalendarSettings,
  DstRule,
  EventSchedule,
  TimeOfDay,
} from '../protocol/calendar/schedule.ts';

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
  readonly ledger: LedgerSettings;
  /** Undefined: nobody is told. */
  readonly alarm: AlarmSettings | undefined;
  /** Undefined: a lost instance is stopped by its lease alone. */
  readonly fence: FenceSettings | undefined;
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
  /** Of the application itself; a secret among them is a reference. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Only, and always, for the platform `mendix`. */
  readonly mendix: MendixSettings | undefined;
}

export interface MendixSettings
  extends Pick<
    MendixPlatformOptions,
    | 'runtimes'
    | 'java'
    | 'javaOptions'
    | 'keepEnvironment'
    | 'adminPort'
    | 'jetty'
    | 'mimeTypes'
    | 'logging'
    | 'sick'
  > {
  /** Absolute; may contain `{instance}`. */
  readonly appBase: string;
  readonly adminPassword: SecretReference | undefined;
  readonly listen: string | undefined;
  readonly scheduledEvents: ScheduledEvents | undefined;
}

export interface InstanceSettings {
  readonly name: string;
  /** Only, and always, for the platform `external`. */
  readonly url: string | undefined;
}

export interface HealthSettings {
  readonly path: string;
  /** Lowest and highest status of a good answer. */
  readonly status: readonly [lowest: number, highest: number];
  /** A regular expression that the beginning of the body must match. */
  readonly body: string | undefined;
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

/** As the engines take it, apart from what only the host knows that runs the balancer. */
export interface BalancerSettings {
  readonly listen: Address;
  readonly engine: 'embedded' | 'haproxy';
  /** `auto`: one for each core. */
  readonly workers: number | 'auto';
  /** Undefined: plain HTTP. */
  readonly tls: BalancerTlsSettings | undefined;
  readonly sticky: StickyOptions;
  readonly trustedProxies: readonly string[];
  readonly proxyProtocol: ProxyProtocolOptions | undefined;
  readonly responseTimeoutMs: number;
  readonly routes: readonly RouteOptions[];
  readonly deny: readonly string[];
  /** Infinity where there is no limit. */
  readonly limits: Limits;
  readonly slowStartMs: number;
  /** The deadline is that of the instance: `app.stop.drainMs`. */
  readonly drain: Omit<DrainOptions, 'deadlineMs'>;
  readonly weights: Readonly<Record<string, number>>;
  /** Absolute paths. */
  readonly pages: Readonly<Record<string, string>>;
  readonly accessLog: AccessLogOptions | undefined;
  readonly admin: Address;
  /** Undefined: the header `Idempotency-Key` means nothing. */
  readonly idempotency: { readonly keepMs: number } | undefined;
}

export interface BalancerTlsSettings {
  /** Absolute paths. Empty only, and always, where the certificate is self-signed. */
  readonly certificates: readonly CertificateFiles[];
  readonly selfSigned: boolean;
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
  readonly http2: boolean;
  readonly redirectFrom: Address | undefined;
  readonly hstsMs: number | undefined;
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
  readonly calendar: CalendarSettings | undefined;
  readonly run: EventRun | undefined;
  readonly on: EventPlace;
  readonly overlap: 'skip' | 'delay' | 'allow';
  readonly missed: EventMissed;
  /** How often a run whose instance was lost is started again elsewhere. 0: it is abandoned at once. */
  readonly lost: { readonly reruns: number };
  readonly timeoutMs: number;
  readonly retry: { readonly times: number; readonly backoffMs: number; readonly maxBackoffMs: number };
  readonly payload: unknown;
  readonly limit: number;
  /** Only for `designated`: called when this instance is appointed, and when it is dismissed. */
  readonly appointed: EventHook | undefined;
  readonly dismissed: EventHook | undefined;
}

export type EventHook =
  | { readonly kind: 'post'; readonly path: string }
  | { readonly kind: 'command'; readonly command: string };

export type EventRun = EventHook | { readonly kind: 'gate' };

export type EventPlace =
  | { readonly kind: 'one' }
  | { readonly kind: 'each' }
  | { readonly kind: 'designated' }
  | { readonly kind: 'prefer'; readonly instance: string };

export type EventMissed =
  | { readonly kind: 'latest' }
  | {
      readonly kind: 'none' /** A moment counts as missed when it is this long past. */;
      readonly afterMs: number;
    }
  | { readonly kind: 'all'; readonly count: number; readonly ageMs: number };

export interface LedgerSettings {
  /** How long finished occurrences are kept. */
  readonly keepMs: number;
}

export interface AlarmSettings {
  /** Without repetition. */
  readonly on: readonly ('failed' | 'missed' | 'abandoned')[];
  readonly hook:
    | { readonly kind: 'post'; readonly url: string }
    | { readonly kind: 'command'; readonly command: string };
  /** Only for `post`, where it is the bearer token. */
  readonly secret: SecretReference | undefined;
}

/** In `role`, `{instance}` stands for the name of the lost instance; a command has it in HOLDFAST_LOST_INSTANCE. */
export type FenceSettings =
  | { readonly kind: 'command'; readonly command: string; readonly timeoutMs: number }
  | { readonly kind: 'role'; readonly role: string; readonly timeoutMs: number };

/**
 * The administrative actions of a Mendix runtime: what each takes, what it gives back, and how long it may take. What a
 * runtime answers is checked before anything relies on it; unknown keys pass, because versions differ in them.
 */
import { z } from 'zod';

const criticalLine = z.union([
  z.string(),
  z.looseObject({
    message: z.string().optional(),
    cause: z.string().nullish(),
    timestamp: z.number().optional(),
  }),
]);
const counts = z.record(z.string(), z.unknown());
const nothing = z.unknown();

/** Seconds are the rule; a start, a change of the database and a health microflow take as long as they take. */
const briefMs = 10_000;
const longMs = 6 * 3_600_000;

export const adminActions = {
  echo: {
    feedback: z.looseObject({ echo: z.string().optional(), errors: z.array(criticalLine).optional() }),
    timeoutMs: 5_000,
  },
  get_admin_action_info: { feedback: z.looseObject({ action_info: z.unknown() }), timeoutMs: briefMs },
  about: {
    feedback: z.looseObject({
      name: z.string().optional(),
      version: z.string().optional(),
      model_version: z.string().nullish(),
      java_version: z.string().optional(),
      xasid: z.string().optional(),
    }),
    timeoutMs: briefMs,
  },
  runtime_status: { feedback: z.looseObject({ status: z.string() }), timeoutMs: briefMs },
  create_log_subscriber: { feedback: nothing, timeoutMs: briefMs },
  start_logging: { feedback: nothing, timeoutMs: briefMs },
  close_stdio: { feedback: nothing, timeoutMs: briefMs },
  set_log_level: { feedback: nothing, timeoutMs: briefMs },
  get_log_settings: { feedback: z.record(z.string(), z.record(z.string(), z.string())), timeoutMs: briefMs },
  add_mime_type: { feedback: nothing, timeoutMs: briefMs },
  update_appcontainer_configuration: { feedback: nothing, timeoutMs: briefMs },
  update_configuration: { feedback: nothing, timeoutMs: 30_000 },
  start: { feedback: nothing, timeoutMs: longMs },
  get_ddl_commands: { feedback: z.looseObject({ ddl_commands: z.array(z.string()) }), timeoutMs: 600_000 },
  execute_ddl_commands: { feedback: nothing, timeoutMs: longMs },
  create_admin_user: { feedback: nothing, timeoutMs: briefMs },
  update_admin_user: { feedback: nothing, timeoutMs: briefMs },
  check_health: {
    feedback: z.looseObject({
      health: z.enum(['healthy', 'sick', 'unknown']),
      diagnosis: z.string().nullish(),
    }),
    timeoutMs: 60_000,
  },
  get_logged_in_user_names: {
    feedback: z.looseObject({ count: z.number(), users: z.array(z.string()) }),
    timeoutMs: briefMs,
  },
  get_current_runtime_requests: { feedback: z.record(z.string(), z.unknown()), timeoutMs: briefMs },
  interrupt_request: { feedback: z.looseObject({ result: z.boolean() }), timeoutMs: briefMs },
  runtime_statistics: {
    feedback: z.looseObject({
      requests: z.array(z.looseObject({ name: z.string(), value: z.number() })).optional(),
      sessions: counts.optional(),
      connectionbus: counts.optional(),
      memory: counts.optional(),
      cache: counts.optional(),
    }),
    timeoutMs: briefMs,
  },
  server_statistics: {
    feedback: z.looseObject({ jetty: counts.optional(), threadpool: counts.optional() }),
    timeoutMs: briefMs,
  },
  get_license_information: { feedback: z.looseObject({}), timeoutMs: briefMs },
} satisfies Record<string, { feedback: z.ZodType; timeoutMs: number }>;

export type AdminAction = keyof typeof adminActions;
export type Feedback<Action extends AdminAction> = z.output<(typeof adminActions)[Action]['feedback']>;

export const logLevels = ['NONE', 'CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'TRACE'] as const;
export type LogLevel = (typeof logLevels)[number];
type Settings = Readonly<Record<string, unknown>>;

/** What each action takes; those that are not here take nothing. */
interface ActionParams {
  readonly echo: { readonly echo: 'ping' };
  /** Whatever the kind of subscriber needs beyond these: `filename`, `max_size`, or `host` and `port`. */
  readonly create_log_subscriber: Settings & { readonly type: string; readonly name: string };
  readonly set_log_level: {
    readonly subscriber: string;
    readonly nodes: readonly { readonly name: string; readonly level: LogLevel }[];
    /** Also for nodes that nothing has been logged to yet. */
    readonly force?: true;
  };
  readonly get_log_settings: { readonly sort: 'subscriber' };
  /** From file extension to type. */
  readonly add_mime_type: Readonly<Record<string, string>>;
  /** All three, always: what is left out is not kept as it was. */
  readonly update_appcontainer_configuration: {
    readonly runtime_port: number;
    readonly runtime_listen_addresses: string;
    readonly runtime_jetty_options: Settings;
  };
  readonly update_configuration: Settings;
  readonly start: { readonly autocreatedb?: true };
  readonly get_ddl_commands: { readonly verbose: true };
  readonly create_admin_user: { readonly password: string; readonly username?: string };
  readonly update_admin_user: { readonly username: string; readonly password: string };
  readonly get_logged_in_user_names: { readonly limit: number };
  readonly interrupt_request: { readonly request_id: string };
}

export type ParamsOf<Action extends AdminAction> = Action extends keyof ActionParams
  ? ActionParams[Action]
  : undefined;

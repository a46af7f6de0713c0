/** The administrative actions of the stand-in, one function each, as a table that says which of them need a running runtime. */

import { type LogLevel, logLevels } from './logging.ts';
import { isAtLeast, readBehaviour } from './model.ts';
import { type Answer, ok, refused, type StandInRuntime } from './runtime.ts';

type Params = Readonly<Record<string, unknown>>;
type Action = (runtime: StandInRuntime, params: Params) => Answer | Promise<Answer>;

/** What the actions need of the process around the runtime. */
export interface Container {
  /** The runtime port shall be this one. */
  moveRuntimePort(port: number, addresses: string): void;
}

/** Known only once the application runs; before, the action "does not exist" (−5). */
const whileRunning = new Set([
  'get_logged_in_user_names',
  'get_current_runtime_requests',
  'interrupt_request',
  'runtime_statistics',
  'get_license_information',
  'create_admin_user',
  'update_admin_user',
]);

const always: Readonly<Record<string, Action>> = {
  echo(runtime, { echo }) {
    if (echo !== 'ping') return ok({ echo: '' });
    const { criticalLog = [] } = readBehaviour(runtime.appBase);
    if (criticalLog.length === 0) return ok({ echo: 'pong' });
    return ok({ errors: criticalLog.map((message) => ({ message, cause: '', timestamp: Date.now() })) });
  },
  get_admin_action_info: () => ok({ action_info: actionNames().map((name) => ({ name })) }),
  about: (runtime) =>
    ok({
      name: 'Mendix Runtime (stand-in)',
      version: runtime.model.RuntimeVersion,
      build: 'stand-in',
      vendor: 'Holdfast',
      copyright: '',
      model_version: runtime.model.ModelVersion,
      java_version: 'none',
      xasid: runtime.xasid,
    }),
  runtime_status: (runtime) => ok({ status: runtime.status }),
  create_log_subscriber: (runtime, params) =>
    runtime.log.subscribe(params)
      ? ok()
      : refused(3, `A log subscriber with name ${params.name} already exists.`),
  start_logging(runtime) {
    runtime.log.start();
    return ok();
  },
  set_log_level(runtime, { subscriber, node, level, nodes }) {
    const asked = Array.isArray(nodes) ? (nodes as { name: string; level: LogLevel }[]) : [];
    const wanted = node === undefined ? asked : [{ name: String(node), level: level as LogLevel }];
    const wrong = wanted.find((one) => !logLevels.includes(one.level));
    if (wrong) return refused(1, `Unknown log level ${wrong.level}.`);
    return runtime.log.setLevels(String(subscriber), wanted)
      ? ok()
      : refused(2, `There is no log subscriber ${subscriber}.`);
  },
  get_log_settings: (runtime) => ok(runtime.log.settings()),
  add_mime_type(runtime, params) {
    runtime.mimeTypes = { ...runtime.mimeTypes, ...params };
    return ok();
  },
  update_configuration: (runtime, params) => runtime.configure(params),
  start: (runtime) => runtime.start(),
  get_ddl_commands: async (runtime) => ok({ ddl_commands: await runtime.ddlCommands() }),
  execute_ddl_commands: (runtime) => runtime.executeDdl(),
  check_health: async (runtime) =>
    runtime.status === 'running' ? ok(await runtime.health()) : refused(2, 'The runtime is not running.'),
  server_statistics: () =>
    ok({ jetty: { max_idle_time_s: 200, current_connections: 0, max_connections: 254 }, threadpool: {} }),
  create_admin_user: () => ok(),
  update_admin_user: () => ok(),
  get_license_information: () => ok({ license: { LicenseType: 'stand-in' } }),
  get_logged_in_user_names: async (runtime, { limit }) => {
    const users = (await runtime.sessions?.users()) ?? [];
    return ok({ count: users.length, users: users.slice(0, Number(limit ?? users.length)) });
  },
  get_current_runtime_requests: () => ok({}),
  interrupt_request: () => ok({ result: false }),
  runtime_statistics: async (runtime) => {
    const users = (await runtime.sessions?.users()) ?? [];
    return ok({
      requests: [...runtime.requests].map(([name, counted]) => ({ name, ...counted })),
      cache: { total_count: 0 },
      sessions: {
        user_sessions: {},
        named_users: users.length,
        named_user_sessions: users.length,
        anonymous_sessions: 0,
      },
      connectionbus: { select: 0, insert: 0, update: 0, delete: 0, transaction: 0 },
      memory: { used_heap: process.memoryUsage().heapUsed, max_heap: 0 },
    });
  },
};

const actionNames = (): string[] => [
  ...Object.keys(always),
  'update_appcontainer_configuration',
  'close_stdio',
  'shutdown',
];

export async function perform(
  runtime: StandInRuntime,
  container: Container,
  action: string,
  params: Params,
): Promise<Answer> {
  if (action === 'update_appcontainer_configuration') {
    // All three belong together: what is left out is not kept.
    container.moveRuntimePort(Number(params.runtime_port), String(params.runtime_listen_addresses ?? ''));
    return ok();
  }
  if (action === 'close_stdio') {
    runtime.log.closeStdio();
    return ok();
  }
  const known = always[action];
  const needsMore = whileRunning.has(action) && runtime.status !== 'running';
  const isTooOld =
    action === 'set_log_level' && !isAtLeast(runtime.model.RuntimeVersion, 6) && 'force' in params;
  if (!known || needsMore || isTooOld) return refused(-5, `Action '${action}' not found.`);
  return known(runtime, params);
}

/** The instance beside this agent, kept as the configuration says: where it listens, what it is given, how it is watched. */
import { checkHealth, type Duties, findFreePort, type Platform } from '../platform/index.ts';
import type { AppSettings } from '../settings/index.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { InstanceKeeper } from './instance-keeper.ts';
import type { RecordKeeper } from './record.ts';

export interface KeptInstance {
  readonly keeper: InstanceKeeper;
  /** What its process has in its environment, and what the commands of its events get. */
  environment(): Record<string, string>;
}

export function keepInstance(options: {
  readonly instance: string;
  readonly app: AppSettings;
  readonly platform: Platform;
  /** The port that the configuration gives it; null: a free one, the same again if it can be had. */
  readonly port: number | null;
  readonly environment: () => Record<string, string>;
  readonly duties: Duties;
  readonly record: RecordKeeper;
  readonly clock: Clock;
  readonly log: Log;
  readonly onChange: () => void;
}): KeptInstance {
  const { instance, app, platform, environment, duties, record, clock, log, onChange } = options;
  const { health } = app;
  const { path, timeoutMs, status, body } = health;
  const pattern = body === undefined ? undefined : new RegExp(body);
  let lastPort: number | undefined;
  const keeper = new InstanceKeeper({
    instance,
    start: async (onOutput) => {
      const preferred = lastPort === undefined ? {} : { preferred: lastPort };
      const port = options.port ?? (await findFreePort(preferred));
      lastPort = port;
      return platform.start({
        address: { host: '127.0.0.1', port },
        environment: environment(),
        onOutput,
        duties,
        beforeRun: (pid) => record.instanceStarted(pid, port),
      });
    },
    check: (address) => checkHealth({ ...address, path, timeoutMs, status, body: pattern }),
    health,
    restart: app.restart,
    killAfterMs: app.stop.killMs,
    mayRestart: app.platform !== 'external',
    clock,
    log,
    onChange,
  });
  return {
    keeper,
    environment: () => {
      const address = keeper.report().address;
      return { ...environment(), ...(address ? { PORT: String(address.port) } : {}) };
    },
  };
}

/**
 * Each runtime opens up to ConnectionPoolingMaxActive connections to the application's database, and all of them
 * together must fit. Where they do not, the last ones fail on the busiest day, so it is said when an agent starts.
 */
import { openArbiter } from '../database/arbiter.ts';
import type { Log } from '../support/log.ts';

const defaultPool = 50;

/** The sum, and the room for it; undefined where the settings name no PostgreSQL. */
interface ConnectionSum {
  readonly wanted: number;
  readonly perInstance: number;
  readonly room: number;
}

/** Never rejects: a database that does not answer now is the runtime's to report. */
export async function warnOfConnections(
  settings: Readonly<Record<string, unknown>>,
  instances: number,
  log: Log,
): Promise<void> {
  try {
    const sum = await connectionSum(settings, instances);
    if (!sum || sum.wanted <= sum.room) return;
    log.warn(
      { notice: true, ...sum },
      `${instances} runtimes may open ${sum.perInstance} connections each to the application's database, ${sum.wanted} together, and it has room for ${sum.room}: lower ConnectionPoolingMaxActive to ${Math.floor(sum.room / instances)}, or raise max_connections`,
    );
  } catch (error) {
    log.debug(
      { error: (error as Error).message },
      'the connections of the application cannot be counted now',
    );
  }
}

export async function connectionSum(
  settings: Readonly<Record<string, unknown>>,
  instances: number,
): Promise<ConnectionSum | undefined> {
  const url = applicationUrl(settings);
  if (url === undefined) return undefined;
  const database = openArbiter({ url, applicationName: 'holdfast', max: 1 });
  try {
    const [row] = await database.query<{ room: number }>(
      `select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as room`,
    );
    const perInstance = Number(settings.ConnectionPoolingMaxActive ?? defaultPool);
    return { perInstance, wanted: perInstance * instances, room: row?.room ?? 0 };
  } finally {
    await database.close();
  }
}

/** Undefined where a JDBC address says it in another way, or the database is another product. */
function applicationUrl(settings: Readonly<Record<string, unknown>>): string | undefined {
  const { DatabaseType, DatabaseHost, DatabaseName, DatabaseUserName, DatabasePassword, DatabaseJdbcUrl } =
    settings;
  if (String(DatabaseType).toLowerCase() !== 'postgresql' || DatabaseJdbcUrl !== undefined) return undefined;
  if (typeof DatabaseHost !== 'string' || DatabaseName === undefined) return undefined;
  const user = encodeURIComponent(String(DatabaseUserName ?? ''));
  const password = encodeURIComponent(String(DatabasePassword ?? ''));
  return `postgres://${user}:${password}@${DatabaseHost}/${encodeURIComponent(String(DatabaseName))}`;
}

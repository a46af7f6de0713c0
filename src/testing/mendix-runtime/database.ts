/**
 * The application's database, a real PostgreSQL. Its structure has a version; a model of another version needs DDL
 * commands first. They are not repeatable and run one by one, so that a second one who runs them fails, and every one
 * is noted with the process that ran it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Arbiter, openArbiter } from '../../database/arbiter.ts';

export type Structure = 'in sync' | 'none' | 'out of sync';

export interface EventRow {
  readonly name: string;
  readonly due: Date;
  readonly xasid: string;
}

const baseStructure = [
  'create table "mendixsystem$version" (modelversion text not null)',
  'create table "mendixsystem$ddl" (pid int not null, command text not null, at timestamptz not null default clock_timestamp())',
  'create table "system$session" (sessionid text primary key, username text not null)',
  'create table "system$scheduledeventinformation" (name text not null, description text not null, due timestamptz not null, xasid text not null, starttime timestamptz not null default clock_timestamp(), endtime timestamptz, status text not null)',
  'create table "system$taskqueue" (name text not null, due timestamptz not null, primary key (name, due))',
];

export class ApplicationDatabase {
  readonly #connection: Arbiter;

  constructor(configuration: Readonly<Record<string, unknown>>) {
    const { DatabaseHost, DatabaseName, DatabaseUserName, DatabasePassword = '' } = configuration;
    const user = encodeURIComponent(String(DatabaseUserName));
    const password = encodeURIComponent(String(DatabasePassword));
    this.#connection = openArbiter({
      url: `postgres://${user}:${password}@${DatabaseHost}/${DatabaseName}`,
      applicationName: 'mendix stand-in',
      max: 3,
      queryDeadlineMs: 20_000,
    });
  }

  async structure(modelVersion: string): Promise<Structure> {
    const { query } = this.#connection;
    const [row] = await query<{ found: string | null }>(
      `select to_regclass('"mendixsystem$version"')::text as found`,
    );
    if (!row?.found) return 'none';
    const [version] = await query<{ modelversion: string }>(
      'select modelversion from "mendixsystem$version"',
    );
    return version?.modelversion === modelVersion ? 'in sync' : 'out of sync';
  }

  async ddlCommands(modelVersion: string, own: readonly string[]): Promise<string[]> {
    const structure = await this.structure(modelVersion);
    if (structure === 'in sync') return [];
    const version = `'${modelVersion.replaceAll("'", "''")}'`;
    return structure === 'none'
      ? [...baseStructure, ...own, `insert into "mendixsystem$version" values (${version})`]
      : [...own, `update "mendixsystem$version" set modelversion = ${version}`];
  }

  async execute(commands: readonly string[], pauseMs: number): Promise<void> {
    const { query } = this.#connection;
    for (const command of commands) {
      await sleep(pauseMs);
      await query(command);
    }
    for (const command of commands)
      await query('insert into "mendixsystem$ddl" (pid, command) values ($1, $2)', [process.pid, command]);
  }

  async saveSession(id: string, user: string): Promise<void> {
    await this.#connection.query('insert into "system$session" values ($1, $2)', [id, user]);
  }

  async userOf(id: string): Promise<string | undefined> {
    const [row] = await this.#connection.query<{ username: string }>(
      'select username from "system$session" where sessionid = $1',
      [id],
    );
    return row?.username;
  }

  async users(): Promise<string[]> {
    const rows = await this.#connection.query<{ username: string }>(
      'select distinct username from "system$session" order by username',
    );
    return rows.map(({ username }) => username);
  }

  async removeSession(id: string): Promise<void> {
    await this.#connection.query('delete from "system$session" where sessionid = $1', [id]);
  }

  /** What System.ScheduledEventInformation shows of one execution. */
  async recordEvent({ name, due, xasid }: EventRow): Promise<void> {
    await this.#connection.query(
      `insert into "system$scheduledeventinformation" (name, description, due, xasid, endtime, status)
      values ($1, '', $2, $3, clock_timestamp(), 'Completed')`,
      [name, due, xasid],
    );
  }

  /** From 9.12 any node may; true for the one that was first. */
  async takeTask(name: string, due: Date): Promise<boolean> {
    const rows = await this.#connection.query(
      'insert into "system$taskqueue" values ($1, $2) on conflict do nothing returning name',
      [name, due],
    );
    return rows.length === 1;
  }

  close(): Promise<void> {
    return this.#connection.close();
  }
}

/** What the arbiter can promise of its commits when its host is lost: who receives them, and whether anybody waits for that. */
import type { Query } from '../database/arbiter.ts';

export interface ReplicationView {
  /** The setting synchronous_standby_names. */
  readonly synchronousNames: string;
  readonly synchronousCommit: string;
  /** All null where this role may not see more than that there is one. */
  readonly receivers: readonly {
    readonly name: string | null;
    readonly state: string | null;
    readonly syncState: string | null;
  }[];
}

export interface Durability {
  /** `stalled`: commits wait for a standby that is not there. `hidden`: this role may not see which it is. */
  readonly kind: 'synchronous' | 'asynchronous' | 'none' | 'stalled' | 'hidden';
  readonly standbys: readonly string[];
  /** What follows from it, in words. */
  readonly promise: string;
}

/** What the arbiter can promise of its commits, and so of claims and outcomes, when its host is lost. */
export function durabilityOf({
  synchronousNames,
  synchronousCommit,
  receivers,
}: ReplicationView): Durability {
  const hidden = receivers.some(({ state }) => state === null);
  const namesOf = (sync: boolean) =>
    receivers
      .filter(({ syncState }) => (syncState === 'sync' || syncState === 'quorum') === sync)
      .map(({ name }) => name ?? '?');
  const waits = synchronousNames !== '' && !['off', 'local'].includes(synchronousCommit);
  if (hidden) {
    const configured = waits
      ? `commits wait for standbys (synchronous_standby_names = ${synchronousNames}); `
      : 'no commit waits for a standby (after a failover a run may happen twice), ';
    const promise = `${configured}which standbys there are cannot be seen with this role: it needs pg_monitor`;
    return { kind: 'hidden', standbys: [], promise };
  }
  const synchronous = waits ? namesOf(true) : [];
  if (synchronous.length > 0) {
    const promise = `synchronous standby ${synchronous.join(', ')}: what was claimed survives a failover`;
    return { kind: 'synchronous', standbys: synchronous, promise };
  }
  if (waits) {
    const promise = `no synchronous standby is connected (synchronous_standby_names = ${synchronousNames}): every commit waits for one`;
    return { kind: 'stalled', standbys: namesOf(false), promise };
  }
  if (receivers.length > 0) {
    const standbys = receivers.map(({ name }) => name ?? '?');
    const because = synchronousNames === '' ? '' : ` (synchronous_commit is ${synchronousCommit})`;
    const promise = `asynchronous standby only${because}: after a failover the last claims may be forgotten, so a run may happen twice`;
    return { kind: 'asynchronous', standbys, promise };
  }
  return { kind: 'none', standbys: [], promise: 'no standby: if its disk is lost, so is the ledger' };
}

/**
 * Who receives what the arbiter commits. Without the rights of pg_monitor the rows are there and say nothing. A
 * subscriber of logical replication is no standby: nothing can fail over to it.
 */
export async function viewReplication(query: Query): Promise<ReplicationView> {
  const [row] = await query<ReplicationView>(
    `select current_setting('synchronous_standby_names') as "synchronousNames",
       current_setting('synchronous_commit') as "synchronousCommit",
       coalesce(jsonb_agg(jsonb_build_object('name', r.application_name, 'state', r.state, 'syncState', r.sync_state)
         order by r.application_name) filter (where r.pid is not null), '[]') as receivers
     from (values (1)) one
     left join pg_stat_replication r on r.state is distinct from 'backup' and not exists (
       select from pg_replication_slots s where s.active_pid = r.pid and s.slot_type = 'logical')`,
  );
  if (!row) throw new Error('what the server says of its standbys is one row');
  return row;
}

/**
 * Where the leader does what no other instance does, and can do it only from its start on, another instance follows it
 * when it is lost: takes the leader, drains, and is started again as the leader. Never the last one that serves
 * users: work that waits is better than an application that is away. A leader in maintenance gives its work away: when
 * nobody uses it any more, it is started again as one of the others.
 */
import { membersUp } from '../events/ledger.ts';
import { type DrainOptions, drain } from './drain.ts';
import type { InstanceDuty } from './duty.ts';
import type { InstanceKeeper } from './instance-keeper.ts';
import type { Intentions } from './state-of-agent.ts';

const askEveryMs = 1_000;

export interface SuccessionOptions extends DrainOptions {
  readonly leader: Pick<InstanceDuty, 'claim' | 'abstains'>;
  readonly keeper: Pick<InstanceKeeper, 'leaderWork' | 'restart'>;
  readonly intentions: { -readonly [Key in keyof Intentions]: Intentions[Key] };
}

/** Runs until the signal is aborted. */
export async function succeedLeader(options: SuccessionOptions, end: AbortSignal): Promise<void> {
  const { clock, keeper, intentions, leader, query, instance, log, events } = options;
  let isTold = false;
  while (!end.aborted) {
    await clock.sleep(askEveryMs, end);
    if (intentions.stopping) continue;
    leader.abstains = intentions.maintenance.length > 0;
    if (leader.abstains && intentions.drained && keeper.leaderWork === 'does') {
      log.info(
        { notice: true, instance },
        `${instance} is in maintenance and gives away what only the leader does`,
      );
      await keeper.restart();
    }
    if (leader.abstains || keeper.leaderWork !== 'would') continue;
    const others = await membersUp(query).catch(() => []); // the arbiter is away: nobody follows anybody
    if (!others.some((name) => name !== instance)) {
      if (!isTold)
        log.info(
          { instance },
          `${instance} is the only one that serves users, so it does not become the leader`,
        );
      isTold = true;
      continue;
    }
    isTold = false;
    if (end.aborted || !(await leader.claim())) continue;
    log.info(
      { notice: true, instance },
      `${instance} follows the leader, which is gone: it drains and is started again`,
    );
    intentions.restarting = true;
    try {
      await drain(options);
      if (!intentions.stopping) await keeper.restart();
    } finally {
      intentions.restarting = false;
      events.resume();
      options.announce();
    }
  }
}

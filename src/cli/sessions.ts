import { destroySessions, findSessions, listSessions, revokeUserSessions } from '../sessions/index.ts';
import { HoldfastError } from '../support/errors.ts';
import { type ConnectionOptions, withArbiter } from './connection.ts';
import { printJson, styled, table } from './output.ts';

export async function sessionsListCommand(
  options: ConnectionOptions & { user?: string; json?: boolean },
): Promise<void> {
  const sessions = await withArbiter(options, (arbiter) => listSessions(arbiter, options));
  if (options.json) {
    printJson(sessions);
    return;
  }
  if (sessions.length === 0) {
    process.stdout.write(options.user ? `No sessions of ${options.user}.\n` : 'No sessions.\n');
    return;
  }
  const head = ['id', 'user', 'instance', 'last used', 'created', 'ends in'].map((title) =>
    styled('dim', title),
  );
  const rows = sessions.map((one) => [
    one.id.slice(0, 16),
    one.user ?? '–',
    one.instance ?? '–',
    one.seenAt.toISOString().slice(0, 19),
    one.createdAt.toISOString().slice(0, 19),
    `${Math.ceil(one.remainingMs / 60_000)}m`,
  ]);
  process.stdout.write(`${table([head, ...rows])}\n`);
}

export async function sessionsRevokeCommand(
  options: ConnectionOptions & { user?: string; id?: string; json?: boolean },
): Promise<void> {
  if ((options.user === undefined) === (options.id === undefined)) {
    throw new HoldfastError('USAGE', 'Name either --user or --id.', {
      remedy: '`holdfast sessions list` shows both.',
    });
  }
  const revoked = await withArbiter(options, async (arbiter) => {
    if (options.user !== undefined) return revokeUserSessions(arbiter, options.user);
    const id = options.id ?? '';
    if (!/^[0-9a-f]{4,64}$/.test(id)) {
      throw new HoldfastError(
        'USAGE',
        '--id: expected at least four hexadecimal digits of an id of `sessions list`.',
      );
    }
    const found = await findSessions(arbiter, id);
    if (found.length > 1)
      throw new HoldfastError('USAGE', `Several sessions begin with ${id}: give more digits.`);
    return destroySessions(arbiter, found);
  });
  if (options.json) printJson({ revoked });
  else process.stdout.write(`Ended ${revoked} session${revoked === 1 ? '' : 's'}.\n`);
  process.exitCode = revoked > 0 ? 0 : 1;
}

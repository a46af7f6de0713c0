/** Makes a configuration file the one in force: the arbiter migrated, the cluster claimed, the revision stored. */
import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import type { Arbiter } from '../database/arbiter.ts';
import { migrate } from '../database/migrate.ts';
import { claimCluster } from '../members/cluster.ts';
import { type LoadedConfiguration, storeRevision } from '../settings/index.ts';

export async function publishConfiguration(
  arbiter: Arbiter,
  loaded: LoadedConfiguration,
  message: string,
): Promise<{ number: number; stored: boolean }> {
  await migrate(arbiter);
  await claimCluster(arbiter.query, loaded.configuration.cluster, randomBytes(32).toString('base64url'));
  return storeRevision(arbiter, { ...loaded, author: `${userInfo().username}@${hostname()}`, message });
}

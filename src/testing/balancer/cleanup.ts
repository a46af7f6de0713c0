import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What registers work for the end of a test, to be done in this order: node:test's context, or one's own. */
export interface Cleanup {
  after(work: () => void | Promise<void>): void;
}

export async function temporaryFolder(t: Cleanup): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-balancer-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

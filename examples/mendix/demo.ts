/** `npm run demo:mendix`: three runtimes from one m2ee.yaml, and what a bad night does to their users. */
import { startMendixCluster } from './cluster.ts';
import { tellStory } from './story.ts';

const say = (text: string): void =>
  void process.stdout.write(`${new Date().toTimeString().slice(0, 8)}  ${text}\n`);

const cluster = await startMendixCluster({ say });
try {
  const facts = await tellStory(cluster, say);
  const { journal, leaders, servedBy } = facts;
  process.stdout.write(`
  each DDL command was executed          ${[...new Set(facts.ddlTimes)].join(', ')} time
  user before and after the kill         ${facts.user}, ${facts.userAfterwards} (processes ${servedBy.join(' and ')})
  the uploaded file afterwards           ${facts.fileAfterwards}
  scheduled events moved                 from ${leaders.join(' to ')} in ${facts.movedWithinMs} ms
  executions in all runtimes' journal    ${journal.executions}, of which doubled ${journal.doubled}
  moments with two that run them         ${journal.overlapping}

`);
} finally {
  await cluster.stop();
}

import type { MemberFacts } from './membership.ts';

/** What an agent says of itself before it has an instance: all that a test needs where the facts do not matter. */
export const plainFacts: MemberFacts = {
  host: 'h',
  agentPid: 1,
  address: null,
  pid: null,
  revision: 1,
  healthPage: null,
  reason: null,
};

/** All checks, in the order in which they run: what the others need comes first. */
import { arbiterChecks } from './arbiter-checks.ts';
import { arbiterLoadChecks } from './arbiter-load-checks.ts';
import { arbiterTableChecks } from './arbiter-table-checks.ts';
import type { Check } from './check.ts';
import { clientAddressChecks } from './client-address-checks.ts';
import { eventChecks } from './event-checks.ts';
import { fileChecks } from './file-checks.ts';
import { hostChecks } from './host-checks.ts';
import { instanceChecks } from './instance-checks.ts';
import { sessionChecks } from './session-checks.ts';
import { trafficChecks } from './traffic-checks.ts';

export const checks: readonly Check[] = [
  ...arbiterChecks,
  ...arbiterLoadChecks,
  ...arbiterTableChecks,
  ...instanceChecks,
  ...sessionChecks,
  ...fileChecks,
  ...trafficChecks,
  ...clientAddressChecks,
  ...eventChecks,
  ...hostChecks,
];

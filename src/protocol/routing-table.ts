import type { InstanceState } from './instance-state.ts';

/** One instance as a balancer sees it: where it is, and what its agent says of it. */
export interface RoutedInstance {
  readonly instance: string;
  readonly host: string;
  readonly port: number;
  readonly state: InstanceState;
}

/** All that a balancer needs to know. It never learns of a database. */
export interface RoutingTable {
  readonly cluster: string;
  readonly instances: readonly RoutedInstance[];
  /** base64url of 32 random bytes, the same on every balancer of the cluster. Secret: never log it. */
  readonly stickyKey: string;
}

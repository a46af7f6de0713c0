/** How many connections each part of Holdfast opens at most, so that they can be counted before they are missed. */
export const poolSizes = {
  agent: 5,
  balancer: 1,
  /** Only where `balancer.idempotency` is configured. */
  balancerKeys: 8,
  /** In the application, by `holdfast/sessions`. */
  sessions: 8,
  /** In the application, by `holdfast/events`, from the first `run.transaction` on. */
  events: 8,
} as const;

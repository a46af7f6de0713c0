/**
 * A fencing token: the arbiter's timeline in the high bits, a sequence in the low 40. It rises with every grant,
 * and also when a promoted standby lost the tail of the sequence, because its timeline is higher (P3).
 * On the wire and in JSON it is decimal text: it does not fit a double.
 */
const sequenceBits = 40n;

export interface TokenParts {
  readonly timeline: number;
  readonly sequence: number;
}

export function tokenParts(token: bigint): TokenParts {
  return { timeline: Number(token >> sequenceBits), sequence: Number(token & ((1n << sequenceBits) - 1n)) };
}

/** For people: `1.42` is the 42nd grant on timeline 1. */
export function formatToken(token: bigint): string {
  const { timeline, sequence } = tokenParts(token);
  return `${timeline}.${sequence}`;
}

/**
 * Idempotency keys in the arbiter, for every balancer of the cluster: whichever of them a client asks again, the key
 * is known. Each operation is one statement (migration 0004), and a claim comes before the request is sent, so that
 * the doubtful cases all end on the same side: the request was carried out at most once (P7). What that costs is an
 * answer now and then that says "nobody knows" or "it was done, and its answer is gone". A key is never granted
 * again to tidy up such a case.
 *
 * The promise is as durable as the arbiter: a failover that loses its tail loses the claims in it.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { IdempotencyAnswer, IdempotencyLedger, StoredResponse } from '../balancer/idempotency.ts';
import type { Query } from '../database/arbiter.ts';

export interface IdempotencyLedgerOptions {
  /** A key is remembered at least this long after its request ended. */
  readonly keepMs: number;
  /**
   * Longer than a balancer works on one request. A claim that is older than this and was not ended belongs to a
   * balancer that died: repetitions are told that nobody knows, and no longer that it is under way.
   */
  readonly leaseMs: number;
  /** Under which name people find the claims of this balancer. */
  readonly balancer: string;
}

/** A user waits for the claim, and no user for the rest. */
const claimDeadlineMs = 2_000;
const endDeadlineMs = 5_000;
const pruneDeadlineMs = 10_000;

/** Of headers and body together: what a key may cost. */
const keptResponseBytes = 64 * 1024;

const tokenBytes = 32;

export function openIdempotencyLedger(query: Query, options: IdempotencyLedgerOptions): IdempotencyLedger {
  const { keepMs, leaseMs, balancer } = options;

  /** Under a token that is no longer the key's, nothing changes. */
  const end = async (token: string, statement: string, values: readonly unknown[] = []): Promise<void> => {
    const { keyHash, secret } = partsOf(token);
    await query(statement, [keyHash, secret, ...values], { deadlineMs: endDeadlineMs });
  };
  const release = (token: string) =>
    end(token, `delete from holdfast.idempotency where key_hash = $1 and token = $2 and state = 'running'`);

  return {
    async claim({ key, fingerprint }) {
      const keyHash = createHash('sha256').update(key).digest();
      const secret = randomBytes(tokenBytes);
      const token = Buffer.concat([keyHash, secret]).toString('base64url');
      const values = [keyHash, Buffer.from(fingerprint, 'hex'), secret, balancer, leaseMs, keepMs];
      try {
        const [row] = await query<ClaimRow>(
          'select outcome, status, headers, body from holdfast.idempotency_claim($1, $2, $3, $4, $5, $6)',
          values,
          { deadlineMs: claimDeadlineMs },
        );
        return answerOf(row, token);
      } catch (error) {
        // It may have been granted, and only the answer was lost. Nothing was sent yet, so the key is given back if
        // that succeeds; otherwise repetitions are refused, which is safe.
        void release(token).catch(() => undefined);
        throw error;
      }
    },

    finish: (token, response) => {
      const { status, headers, body } = asKept(response);
      return end(
        token,
        `update holdfast.idempotency set state = 'done', status = $3, headers = $4, body = $5
         where key_hash = $1 and token = $2 and state = 'running'`,
        [status, headers, body],
      );
    },

    release,

    forget: (token) =>
      end(
        token,
        `update holdfast.idempotency set state = 'unknown'
         where key_hash = $1 and token = $2 and state = 'running'`,
      ),
  };
}

/** Removes keys that ran out, so many at most; says how many. */
export async function pruneIdempotency(query: Query, limit: number): Promise<number> {
  const [row] = await query<{ pruned: number }>('select holdfast.idempotency_prune($1) as pruned', [limit], {
    deadlineMs: pruneDeadlineMs,
  });
  return row?.pruned ?? 0;
}

interface ClaimRow {
  readonly outcome: IdempotencyAnswer['kind'];
  readonly status: number | null;
  readonly headers: string[] | null;
  readonly body: Buffer | null;
}

function answerOf(row: ClaimRow | undefined, token: string): IdempotencyAnswer {
  if (row === undefined) throw new Error('a claim was not answered');
  const { outcome, status, headers, body } = row;
  if (outcome === 'granted') return { kind: 'granted', token };
  if (outcome !== 'done') return { kind: outcome };
  if (status === null || headers === null || body === null) throw new Error('a finished key has no response');
  return { kind: 'done', response: { status, headers, body } };
}

/** A token begins with the hash of its key, by which the row is found; the rest is what cannot be guessed. */
function partsOf(token: string): { keyHash: Buffer; secret: Buffer } {
  const bytes = Buffer.from(token, 'base64url');
  return { keyHash: bytes.subarray(0, -tokenBytes), secret: bytes.subarray(-tokenBytes) };
}

/**
 * Of a response that is too large its status is kept, which is what a client that asks again most wants to know. To
 * forget that the request was carried out would let its repetition be carried out as well.
 */
function asKept(response: StoredResponse): StoredResponse {
  const headerBytes = response.headers.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (headerBytes + response.body.byteLength <= keptResponseBytes) return response;
  const text = 'This request was carried out. Its response was too large to be kept for a repetition.\n';
  return {
    status: response.status,
    headers: ['Content-Type', 'text/plain; charset=utf-8'],
    body: Buffer.from(text),
  };
}

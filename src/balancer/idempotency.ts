/**
 * `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a client that is not sure whether its POST was
 * carried out sends it again under the same key, and whoever keeps the keys sees to it that it is done once. The
 * balancer knows no database, so it is handed this.
 */
export interface IdempotencyLedger {
  /** One question for a request that bears a key. Rejects when nobody can say; the request is then refused with 503. */
  claim(request: IdempotentRequest): Promise<IdempotencyAnswer>;
  /** Under the token of a claim: the response that every repetition will get. */
  finish(token: string, response: StoredResponse): Promise<void>;
  /** Nothing was sent: the key is as if it had never been used. */
  release(token: string): Promise<void>;
  /** The instance was lost while it worked on it: nobody knows. Repetitions are refused. */
  forget(token: string): Promise<void>;
}

export interface IdempotentRequest {
  /** As the client wrote it; at most 255 characters. */
  readonly key: string;
  /** Hex SHA-256 of all that makes the request what it is; the same key with another one is a mistake of the client. */
  readonly fingerprint: string;
}

export type IdempotencyAnswer =
  /** It is ours to carry out. */
  | { readonly kind: 'granted'; readonly token: string }
  /** It was carried out: this was the response. */
  | { readonly kind: 'done'; readonly response: StoredResponse }
  /** Another request with this key is under way: 409. */
  | { readonly kind: 'running' }
  /** It was in the hands of an instance that was lost: 409 with a text that says so. */
  | { readonly kind: 'unknown' }
  /** The key was used for something else: 422. */
  | { readonly kind: 'mismatch' };

export interface StoredResponse {
  readonly status: number;
  /** Name, value, name, value …; without those of one connection. */
  readonly headers: readonly string[];
  readonly body: Uint8Array;
}

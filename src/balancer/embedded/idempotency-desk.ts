import { createHash } from 'node:crypto';
import { isIdempotent } from '../../protocol/replay.ts';
import type { Log } from '../../support/log.ts';
import { plainField } from '../http1/fields.ts';
import { type ResponseHead, responseFields } from '../http1/response-head.ts';
import type { IdempotencyAnswer, IdempotencyLedger, StoredResponse } from '../idempotency.ts';
import type { Exchange } from './exchange.ts';
import { badKey, keyMismatch, keyRunning, keyUnavailable, keyUnknown } from './refusal.ts';

/**
 * Requests that bear an `Idempotency-Key`: before such a request goes to an instance, the ledger is asked whether it was
 * carried out before; what came of it is told to the ledger. A request whose instance was lost stays unknown for good:
 * nobody can find out, and doing it twice is what the key is there to prevent.
 */
interface Claim {
  readonly key: string;
  token: string | undefined;
  waitsForBody: boolean;
  response: RecordedResponse | undefined;
}

const longestKey = 255;
/** A larger response is not kept; its repetition is told so. */
const mostStoredBytes = 64 * 1024;

export class IdempotencyDesk {
  readonly #ledger: IdempotencyLedger;
  readonly #log: Log;
  readonly #claims = new Map<Exchange, Claim>();

  constructor(ledger: IdempotencyLedger, log: Log) {
    this.#ledger = ledger;
    this.#log = log;
  }

  /** Does the request bear a key that matters? Then it is asked about, and goes on or is answered later. */
  concerns(exchange: Exchange): boolean {
    const { facts, path } = exchange;
    if (isIdempotent(facts.method)) return false;
    const key = facts.header('idempotency-key');
    if (key === undefined) return false;
    const { contentLength } = facts;
    // A body of known and small length is part of what makes the request what it is.
    const waitsForBody =
      facts.hasBody &&
      !facts.expectsContinue &&
      contentLength >= 0 &&
      contentLength <= path.settings.limits.replayBodyBytes;
    const claim: Claim = { key, token: undefined, waitsForBody, response: undefined };
    this.#claims.set(exchange, claim);
    if (!waitsForBody) queueMicrotask(() => void this.#ask(exchange, claim));
    return true;
  }

  bodyEnded(exchange: Exchange): void {
    const claim = this.#claims.get(exchange);
    if (claim?.waitsForBody) void this.#ask(exchange, claim);
  }

  /** The instance begins to answer: its response is recorded as it passes. */
  responded(exchange: Exchange, head: ResponseHead, bytes: Buffer): void {
    const claim = this.#claims.get(exchange);
    if (claim?.token === undefined) return;
    claim.response = new RecordedResponse(head, bytes);
    exchange.recorder = claim.response;
  }

  /** The response is complete. */
  ended(exchange: Exchange): void {
    const claim = this.#take(exchange);
    if (claim?.token === undefined || claim.response === undefined) return;
    this.#tell(this.#ledger.finish(claim.token, claim.response.stored()));
  }

  /** The exchange ended in another way: nothing was sent, or nobody knows what became of it. */
  abandoned(exchange: Exchange): void {
    const claim = this.#take(exchange);
    if (claim?.token === undefined) return;
    this.#tell(exchange.wasSent ? this.#ledger.forget(claim.token) : this.#ledger.release(claim.token));
  }

  #take(exchange: Exchange): Claim | undefined {
    const claim = this.#claims.get(exchange);
    this.#claims.delete(exchange);
    exchange.recorder = undefined;
    return claim;
  }

  async #ask(exchange: Exchange, claim: Claim): Promise<void> {
    if (this.#claims.get(exchange) !== claim) return;
    if (claim.key === '' || claim.key.length > longestKey) {
      exchange.refuse(badKey);
      return;
    }
    let answer: IdempotencyAnswer;
    try {
      answer = await this.#ledger.claim({ key: claim.key, fingerprint: fingerprintOf(exchange, claim) });
    } catch (error) {
      this.#log.warn(
        { reason: (error as Error).message },
        'nobody can say whether an Idempotency-Key was used',
      );
      if (this.#claims.get(exchange) === claim) exchange.refuse(keyUnavailable);
      return;
    }
    if (this.#claims.get(exchange) !== claim) {
      // The client went away meanwhile.
      if (answer.kind === 'granted') this.#tell(this.#ledger.release(answer.token));
      return;
    }
    this.#act(exchange, claim, answer);
  }

  #act(exchange: Exchange, claim: Claim, answer: IdempotencyAnswer): void {
    exchange.path.clock.look();
    switch (answer.kind) {
      case 'granted':
        claim.token = answer.token;
        exchange.giveToNext();
        break;
      case 'done':
        exchange.answer(answer.response);
        break;
      case 'running':
        exchange.refuse(keyRunning);
        break;
      case 'unknown':
        exchange.refuse(keyUnknown);
        break;
      case 'mismatch':
        exchange.refuse(keyMismatch);
        break;
    }
  }

  #tell(told: Promise<void>): void {
    told.catch((error: Error) => {
      this.#log.warn(
        { reason: error.message },
        'the ledger of Idempotency-Keys could not be told of a result',
      );
    });
  }
}

/** Who asks for what. Of the cookies only that of the session, where it is known: others change between two requests. */
function fingerprintOf({ facts, body, path }: Exchange, claim: Claim): string {
  const { sticky } = path.settings;
  const name = 'session' in sticky ? sticky.session : undefined;
  const cookies = facts.header('cookie')?.split(';') ?? [];
  const session = cookies.find((pair) => name !== undefined && pair.trim().startsWith(`${name}=`)) ?? '';
  const hash = createHash('sha256');
  hash.update(`${facts.method} ${facts.host} ${facts.target}\n`);
  hash.update(`${facts.header('authorization') ?? ''}\n${session.trim()}\n`);
  if (claim.waitsForBody) for (const piece of body.pieces) hash.update(piece);
  return hash.digest('hex');
}

/** A response as it passes by. */
class RecordedResponse {
  readonly #status: number;
  readonly #headers: string[] = [];
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor({ status, fields }: ResponseHead, bytes: Buffer) {
    this.#status = status;
    for (let index = 0; index < fields.count; index++) {
      const kind = fields.kind(index);
      if (kind !== plainField && kind !== responseFields.setCookie) continue;
      this.#headers.push(
        bytes.toString('latin1', fields.start(index), fields.nameEnd(index)),
        bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index)),
      );
    }
  }

  take(bytes: Buffer, from: number, to: number): void {
    this.#bytes += to - from;
    if (this.#bytes <= mostStoredBytes) this.#pieces.push(Buffer.from(bytes.subarray(from, to)));
    else this.#pieces = [];
  }

  stored(): StoredResponse {
    const status = this.#status;
    if (this.#bytes <= mostStoredBytes)
      return { status, headers: this.#headers, body: Buffer.concat(this.#pieces) };
    const text = 'This request was carried out. Its response was too large to be kept for a repetition.\n';
    return { status, headers: ['Content-Type', 'text/plain; charset=utf-8'], body: Buffer.from(text) };
  }
}

import { isIdempotent, mayReplay, type RequestPhase } from '../../protocol/replay.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { StoredResponse } from '../idempotency.ts';
import type { Backend } from './backend.ts';
import type { DataPath } from './data-path.ts';
import type { Front } from './front.ts';
import {
  allBusy,
  badResponse,
  bodyNotHeld,
  bodyTooLarge,
  bodyTooSlow,
  everyInstanceBroke,
  fateUnknown,
  noInstance,
  noResponse,
  type Refusal,
  underMaintenance,
} from './refusal.ts';
import { RequestBody } from './request-body.ts';
import type { RequestFacts } from './request-facts.ts';
import { ResponseRelay } from './response-relay.ts';
import { Setbacks } from './setbacks.ts';
import type { Upstream } from './upstream.ts';

/**
 * One request on its way through the balancer: to whom it is given, what happens when that instance dies, and what the
 * client gets in the end. Exactly one answer leaves each exchange: the response of an instance, or a refusal of ours,
 * or the connection breaks because a response broke. The rules of replay are those of protocol/replay.ts (P7). An
 * HTTP/1.1 connection has one exchange for all its requests, one after the other; nothing is allocated for a request.
 */
type State =
  | 'idle'
  /** Taken, and about to be given to somebody. */
  | 'begun'
  /** Asked whether its Idempotency-Key was used before. */
  | 'claiming'
  /** Waits for an instance. */
  | 'held'
  /** Given to an instance; no final response yet. */
  | 'sent'
  | 'responding'
  | 'tunnel';

/** Many older servers never say 100; after this long the body is sent regardless (RFC 9110, section 10.1.1). */
const continueWaitMs = 1_000;
/** A silence of this length makes the balancer look whether the instance is still there. */
const suspiciousMs = 100;
/** A response that stands still for so long on an instance that is gone is not waited for. */
const goneResponseMs = 5_000;

export class Exchange {
  readonly path: DataPath;
  readonly front: Front;
  readonly facts: RequestFacts;
  readonly body: RequestBody = new RequestBody();
  readonly #relay: ResponseRelay;
  readonly #setbacks = new Setbacks();
  state: State = 'idle';
  startedMs = 0;
  /** The latest instance that it was given to. */
  backend: Backend | undefined;
  /** The same, as long as it works on it. */
  #charged: Backend | undefined;
  #upstream: Upstream | undefined;
  #repeatable = false;
  #sentMs = 0;
  #connectedMs = 0;
  #awaitsContinue = false;
  #suspected = false;
  #heldSinceMs = 0;
  #tunnelLeadMs = -1;
  #isClientBlocked = false;
  /** Takes the payload of the response as it passes. */
  recorder: { take(bytes: Buffer, from: number, to: number): void } | undefined;
  /** How often it was given to an instance. */
  attempts = 0;
  /** Did it go out on a connection that stood? Then an instance may have seen it. */
  wasSent = false;

  constructor(path: DataPath, front: Front, facts: RequestFacts) {
    this.path = path;
    this.front = front;
    this.facts = facts;
    this.#relay = new ResponseRelay(this);
  }

  get isIdle(): boolean {
    return this.state === 'idle';
  }

  get hasResponded(): boolean {
    return this.state === 'responding' || this.state === 'tunnel';
  }

  /** The facts are there: the request may go. What of the body came with the head is given right after. */
  begin(): void {
    const { facts, path } = this;
    const { limits } = path.settings;
    this.startedMs = path.clock.nowMs;
    this.state = 'begun';
    this.#repeatable = facts.route?.repeatable === true || isIdempotent(facts.method);
    this.attempts = 0;
    this.wasSent = false;
    this.backend = undefined;
    this.#relay.reset(facts.method);
    this.#heldSinceMs = 0;
    this.#setbacks.clear();
    this.body.reset(facts.hasBody, this.#repeatable ? limits.replayBodyBytes : 0, this.startedMs);
    if (facts.contentLength > this.#bodyLimit) this.refuse(bodyTooLarge, true);
    else if (path.idempotency?.concerns(this)) this.state = 'claiming';
    else this.giveToNext();
  }

  get #bodyLimit(): number {
    return this.facts.route?.bodyBytes ?? this.path.settings.limits.bodyBytes;
  }

  /** A piece of the request's body, framed as it goes over the wire, and how much of it is payload. */
  takeBody(bytes: Buffer, from: number, to: number, owned: boolean, payloadBytes: number): void {
    if (this.state === 'idle') return; // answered already; the rest is of no use to anybody
    this.body.payloadBytes += payloadBytes;
    const goesOn = this.body.take(bytes, from, to, owned, this.path.clock.nowMs);
    if (this.body.payloadBytes > this.#bodyLimit) this.refuse(bodyTooLarge, true);
    else if (!goesOn && !this.#isBodyClaimed) this.front.pauseBody();
  }

  /** A small body is waited for before its key is asked about. */
  get #isBodyClaimed(): boolean {
    return this.state === 'claiming' && this.body.takenBytes <= this.path.settings.limits.replayBodyBytes;
  }

  bodyEnded(): void {
    this.body.complete(this.path.clock.nowMs);
    if (this.state === 'claiming') this.path.idempotency?.bodyEnded(this);
  }

  /** The client went away. */
  clientGone(): void {
    if (this.state === 'idle') return;
    this.#end('client gone');
  }

  /** The instances have changed: whoever waits looks again. */
  reconsider(): void {
    if (this.state === 'held') this.giveToNext();
    else if (this.state === 'sent') this.#leaveLostBackend();
    else if (this.state === 'tunnel') this.#cutLostTunnel();
  }

  giveToNext(): void {
    if (this.#setbacks.areTooMany) {
      this.refuse(everyInstanceBroke);
      return;
    }
    const backend = this.path.roster.choose(this.facts, this.#setbacks.exclude);
    if (backend === undefined || backend.isFull) this.#hold(backend !== undefined);
    else this.#send(backend, !this.#repeatable);
  }

  #hold(isBusy: boolean): void {
    const { path } = this;
    if (path.roster.isUnderMaintenance) {
      this.refuse(underMaintenance);
      return;
    }
    if (this.#setbacks.haveBroken(path.roster.routable())) {
      this.refuse(everyInstanceBroke);
      return;
    }
    if (this.state !== 'held') {
      if (path.held.size >= path.settings.limits.heldRequests) {
        this.refuse(isBusy ? allBusy : noInstance);
        return;
      }
      this.state = 'held';
      path.held.add(this);
    }
    this.#heldSinceMs ||= path.clock.nowMs;
  }

  #send(backend: Backend, fresh: boolean): void {
    const { facts, body, path } = this;
    if (this.state === 'held') path.held.delete(this);
    const upstream = backend.connect(fresh, path.proxyHeaderFor(facts));
    backend.began();
    upstream.exchange = this;
    this.state = 'sent';
    this.backend = backend;
    this.#charged = backend;
    this.#upstream = upstream;
    this.#suspected = false;
    this.#sentMs = path.clock.nowMs;
    this.attempts++;
    this.#relay.reset(facts.method);
    this.#awaitsContinue = facts.expectsContinue && body.takenBytes === 0;
    if (!facts.hasBody) {
      upstream.sendLater(facts.outgoing, path.outbox);
      if (upstream.isConnected) this.onConnected();
      return;
    }
    upstream.socket.cork();
    upstream.socket.write(this.#awaitsContinue ? expecting(facts.outgoing) : facts.outgoing);
    if (upstream.isConnected) this.onConnected();
    // What comes with the head in one packet leaves in one packet.
    process.nextTick(uncork, upstream.socket);
  }

  onConnected(): void {
    this.#connectedMs = this.path.clock.nowMs;
    this.wasSent = true;
    if (this.facts.hasBody && !this.#awaitsContinue) this.#sendBody();
  }

  #sendBody(): void {
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    this.body.attach(upstream, this.path.clock.nowMs);
    if (!this.body.awaitsInstance) this.front.resumeBody();
  }

  onUpstreamDrained(): void {
    this.body.drained(this.path.clock.nowMs);
    if (!this.body.isComplete || this.state === 'tunnel') this.front.resumeBody();
  }

  onClientDrained(): void {
    this.#isClientBlocked = false;
    this.#upstream?.socket.resume();
  }

  onResponseBytes(bytes: Buffer, from: number, to: number, owned: boolean): void {
    this.#relay.take(bytes, from, to, owned);
    if (this.state === 'idle' || this.front.flush()) return;
    this.#isClientBlocked = true;
    this.#upstream?.socket.pause();
  }

  /** The instance says 100: it wants the body. */
  onContinue(): void {
    if (!this.#awaitsContinue) return;
    this.#awaitsContinue = false;
    this.facts.expectsContinue = false;
    this.front.interim(100, undefined, undefined);
    this.#sendBody();
  }

  onInterim(head: ResponseHead, bytes: Buffer): void {
    if (this.backend !== undefined) this.backend.responses[0]++;
    this.front.interim(head.status, head, bytes);
  }

  /** The final head of the instance is there. */
  onResponse(head: ResponseHead, bytes: Buffer): void {
    const { backend, path } = this;
    if (backend === undefined) return;
    this.state = 'responding';
    this.#awaitsContinue = false;
    backend.answered(head.status, path.clock.nowMs - this.#sentMs);
    this.body.release();
    const added = path.addedHeaders(this, backend, head, bytes);
    path.idempotency?.responded(this, head, bytes);
    this.front.respond(head, bytes, added);
  }

  /** 101: both sides agreed on another protocol. */
  onUpgrade(head: ResponseHead, bytes: Buffer): boolean {
    const { backend, path } = this;
    if (backend === undefined || !this.facts.wantsTunnel) return false;
    this.state = 'tunnel';
    this.#tunnelLeadMs = -1;
    backend.answered(head.status, path.clock.nowMs - this.#sentMs);
    this.front.tunnel(head, bytes, path.addedHeaders(this, backend, head, bytes));
    return true;
  }

  /** What the client sends through the tunnel. Returns false when it should wait. */
  sendThroughTunnel(bytes: Buffer): boolean {
    return this.#upstream?.socket.write(bytes) ?? true;
  }

  /** Large bodies are read into buffers of their own, which can be handed on without a copy. */
  expectsMore(): void {
    if (this.#upstream) this.#upstream.buffer.owns = true;
  }

  /** Bytes of the current read are still waiting to be written. */
  lent(): void {
    this.#upstream?.buffer.lent();
  }

  /** The response is complete; `keepAliveMs` < 0: its connection cannot be used again. */
  onResponseEnd(keepAliveMs: number): void {
    const { front } = this;
    this.path.idempotency?.ended(this);
    const upstream = this.#upstream;
    this.#settle();
    if (upstream !== undefined) {
      upstream.exchange = undefined;
      upstream.buffer.owns = false;
      if (keepAliveMs < 0 || !this.body.isComplete || upstream.socket.writableLength > 0) upstream.destroy();
      else {
        upstream.isReused = true;
        upstream.backend.keep(upstream, keepAliveMs);
      }
    }
    this.path.ended(this, this.#relay.status, this.#relay.bodyBytes);
    this.state = 'idle';
    front.end();
  }

  /** What the instance sent is not HTTP. */
  onInvalidResponse(): void {
    const { backend } = this;
    if (backend === undefined) return;
    this.#countFailure(backend, !this.#repeatable);
    if (this.state === 'sent') this.refuse(badResponse);
    else this.#breakOff();
  }

  /** The connection to the instance is gone. */
  onUpstreamEnded(how: string): void {
    const { backend } = this;
    if (this.#relay.endsWithConnection && how === 'ended') {
      this.onResponseEnd(-1);
      return;
    }
    if (this.state === 'sent') {
      this.#failed(how);
      return;
    }
    if (this.state === 'responding' && backend !== undefined) {
      this.path.suspect(backend);
      this.#countFailure(backend, false);
    }
    this.#breakOff();
  }

  /** Called regularly; every limit on time is looked at here, so that requests need no timers of their own. */
  tick(nowMs: number, clientStalledMs: number): void {
    const { limits } = this.path.settings;
    switch (this.state) {
      case 'claiming':
        if (this.#isBodyClaimed && !this.body.isComplete && this.body.isTooSlow(limits, nowMs))
          this.refuse(bodyTooSlow, true);
        break;
      case 'held':
        if (nowMs - this.#heldSinceMs >= limits.holdMs)
          this.refuse(this.path.roster.isAnyRoutable ? allBusy : noInstance);
        break;
      case 'sent':
        this.#tickSent(nowMs);
        break;
      case 'responding':
        this.#tickResponding(nowMs, clientStalledMs);
        break;
      case 'tunnel':
        this.#tickTunnel(nowMs);
        break;
    }
  }

  /** Ends the exchange with an answer of ours; where another one has begun, it breaks off. */
  refuse(refusal: Refusal, ends = false): void {
    if (this.state === 'idle') return;
    if (this.hasResponded) {
      this.#breakOff();
      return;
    }
    const closes = ends || !this.body.isComplete;
    this.#end(refusal.text, refusal.status);
    this.front.refuse(refusal, closes);
  }

  /** Answers with what the ledger of idempotency keys remembers. */
  answer({ status, headers, body }: StoredResponse): void {
    if (this.state !== 'claiming') return;
    this.#end('stored response', status);
    this.front.replay(status, headers, body);
  }

  /** Ends the exchange without a word. */
  cut(): void {
    if (this.state !== 'idle') this.#breakOff();
  }

  #tickSent(nowMs: number): void {
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    const { limits, responseTimeoutMs } = this.path.settings;
    if (!upstream.isConnected) {
      if (nowMs - this.#sentMs >= limits.connectTimeoutMs) this.#failed('CONNECT_TIMEOUT');
      return;
    }
    if (this.#awaitsContinue) {
      if (nowMs - this.#connectedMs >= continueWaitMs) this.onContinue();
      return;
    }
    const { body } = this;
    if (!body.awaitsInstance) {
      if (body.isTooSlow(limits, nowMs)) this.refuse(bodyTooSlow, true);
      return;
    }
    const quietMs = nowMs - Math.max(this.#connectedMs, body.progressMs);
    if (quietMs >= suspiciousMs && !this.#suspected) {
      this.#suspected = true;
      this.path.suspect(upstream.backend);
    }
    if (quietMs >= (this.facts.route?.responseTimeoutMs ?? responseTimeoutMs)) {
      this.#countFailure(upstream.backend, !this.#repeatable);
      this.refuse(noResponse(this.#repeatable));
    }
  }

  #tickResponding(nowMs: number, clientStalledMs: number): void {
    if (this.#isClientBlocked) {
      if (clientStalledMs >= this.path.settings.limits.readIdleMs) this.#breakOff();
      return;
    }
    const isStuck = nowMs - this.#relay.lastByteMs >= goneResponseMs;
    if (!isStuck || this.backend === undefined || !this.#hasBetterThan(this.backend)) return;
    this.#countFailure(this.backend, false);
    this.#breakOff();
  }

  #tickTunnel(nowMs: number): void {
    const { settings } = this.path;
    const { backend } = this;
    if (backend === undefined) return;
    const isIdle = nowMs - this.#relay.lastByteMs >= settings.limits.tunnelIdleMs;
    const remainingMs = backend.drainRemainingMs;
    const isDraining = remainingMs !== Number.POSITIVE_INFINITY;
    if (isDraining && this.#tunnelLeadMs < 0)
      this.#tunnelLeadMs = settings.random() * settings.drain.jitterMs;
    if (isIdle || (isDraining && remainingMs <= this.#tunnelLeadMs)) this.#breakOff();
  }

  /** Something moved in the tunnel, from the client's side. */
  moved(): void {
    this.#relay.lastByteMs = this.path.clock.nowMs;
  }

  #failed(code: string): void {
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    const { backend } = upstream;
    const phase = this.#phase(upstream);
    const { body, facts, path } = this;
    this.#withdraw(upstream);
    path.suspect(backend);
    path.settings.log.debug(
      { instance: backend.view.instance, code, phase, method: facts.method },
      'attempt failed',
    );
    if (!mayReplay({ phase, repeatable: this.#repeatable, bodyHeld: body.isHeld })) {
      this.#countFailure(backend, !this.#repeatable);
      this.refuse(this.#repeatable ? bodyNotHeld : fateUnknown);
    } else if (phase === 'pooledClosed' && path.roster.has(backend) && !backend.isGone) {
      // A kept connection that closed says nothing of the instance yet; a new one will.
      this.#send(backend, true);
    } else {
      this.#replay(backend, phase !== 'notConnected');
    }
  }

  #phase(upstream: Upstream): RequestPhase {
    if (!upstream.isConnected) return 'notConnected';
    return upstream.isReused ? 'pooledClosed' : 'sent';
  }

  #countFailure(backend: Backend, fateIsUnknown: boolean): void {
    backend.failed++;
    if (fateIsUnknown) backend.unknown++;
  }

  /** The instance is down or gone while we wait for it: what may be repeated goes elsewhere at once. */
  #leaveLostBackend(): void {
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    const { backend } = upstream;
    if (!this.#hasBetterThan(backend)) return; // nobody better: the one we have may still answer
    const phase = upstream.isConnected ? 'sent' : 'notConnected';
    if (!mayReplay({ phase, repeatable: this.#repeatable, bodyHeld: this.body.isHeld })) return;
    this.#withdraw(upstream);
    this.#replay(backend, phase === 'sent');
  }

  #replay(after: Backend, wasSent: boolean): void {
    this.#setbacks.note(after, wasSent);
    after.replayed++;
    this.giveToNext();
  }

  /** This attempt is over; what is still to come of the body waits for the next one. */
  #withdraw(upstream: Upstream): void {
    upstream.destroy();
    this.#settle();
    this.body.detach();
    if (!this.body.isComplete) this.front.pauseBody();
  }

  #cutLostTunnel(): void {
    // Without anybody else to go to, a client that comes back would only be refused.
    if (this.backend !== undefined && this.#hasBetterThan(this.backend)) this.#breakOff();
  }

  /** Is this instance gone, and another one there? */
  #hasBetterThan(backend: Backend): boolean {
    return backend.isGone && this.path.roster.hasHealthyBeside(backend);
  }

  /** The client sees its connection break. */
  #breakOff(): void {
    this.#end('broken off');
    this.front.cut();
  }

  /** The instance no longer works for this request, or not for us. */
  #settle(): void {
    this.#upstream = undefined;
    this.#isClientBlocked = false;
    this.#charged?.ended();
    this.#charged = undefined;
  }

  #end(why: string, status = 0): void {
    const wasHeld = this.state === 'held';
    if (wasHeld) this.path.held.delete(this);
    this.path.idempotency?.abandoned(this);
    this.#upstream?.destroy();
    this.#settle();
    this.path.ended(this, status || this.#relay.status, this.#relay.bodyBytes, why);
    this.body.detach();
    this.body.release();
    this.state = 'idle';
  }
}

const uncork = (socket: { uncork(): void }): void => socket.uncork();

const expectation = Buffer.from('Expect: 100-continue\r\n\r\n');

/** The head with an Expect in place of its empty line. */
const expecting = (head: Buffer): Buffer => Buffer.concat([head.subarray(0, head.length - 2), expectation]);

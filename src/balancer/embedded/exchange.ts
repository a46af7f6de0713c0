import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { withoutHopByHop } from '../../protocol/forwarded.ts';
import { isIdempotent, mayReplay } from '../../protocol/replay.ts';
import type { EngineSettings } from '../engine.ts';
import { stickySetCookie } from '../sticky.ts';
import { Attempt, type AttemptFailure } from './attempt.ts';
import type { Backend } from './backend.ts';
import type { Downstream } from './downstream.ts';
import type { HeldBody } from './held-body.ts';
import {
  badResponse,
  bodyNotHeld,
  bodyTooLarge,
  bodyTooSlow,
  everyInstanceBroke,
  fateUnknown,
  noInstance,
  noResponse,
  type Refusal,
} from './refusal.ts';
import type { OutgoingRequest } from './request-head.ts';
import type { Roster } from './roster.ts';

/**
 * One request from a client, from its arrival to its answer: it is given to an instance, and as long as P7 allows to
 * the next one when that fails. With nobody to give it to it waits a while, because the usual reason is that an
 * instance is just coming back.
 */
export interface ExchangeContext {
  readonly roster: Roster;
  readonly settings: EngineSettings;
  /** Waiting for an instance. */
  readonly held: Set<Exchange>;
  /** Given to an instance, no response yet. */
  readonly waiting: Set<Exchange>;
  /** Joined to an instance for good. */
  readonly tunnels: Set<Exchange>;
}

export interface ExchangeRequest {
  readonly outgoing: OutgoingRequest;
  /** Undefined for a request without one. */
  readonly body: HeldBody | undefined;
  readonly expectsContinue: boolean;
}

/** How a backend failed this request, and what it had been through by then. */
interface Setback {
  readonly sent: boolean;
  readonly births: number;
  readonly lifeSigns: number;
}

/** A request that kills whatever it meets must not be carried through the whole cluster. */
const maxSends = 3;

export class Exchange {
  readonly #context: ExchangeContext;
  readonly #downstream: Downstream;
  readonly #request: ExchangeRequest;
  readonly #idempotent: boolean;
  readonly #setbacks = new Map<Backend, Setback>();
  #attempt: Attempt | undefined;
  /** The backend that has the request and has not been told that it ended. */
  #charged: Backend | undefined;
  #sends = 0;
  #heldSinceMs: number | undefined;
  #suspected = false;
  #isOver = false;

  constructor(context: ExchangeContext, downstream: Downstream, request: ExchangeRequest) {
    this.#context = context;
    this.#downstream = downstream;
    this.#request = request;
    this.#idempotent = isIdempotent(request.outgoing.method);
    downstream.onGone(() => this.#clientGone());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get hasStartedResponse(): boolean {
    return this.#downstream.hasStarted;
  }

  get isReceiving(): boolean {
    return this.#request.body !== undefined && !this.#request.body.isComplete;
  }

  start(): void {
    this.#giveToNext();
  }

  /** There is news of the instances: whoever waits looks again. */
  reconsider(): void {
    if (this.#context.held.delete(this)) this.#giveToNext();
    else if (this.#context.waiting.has(this)) this.#leaveLostBackend();
    else if (this.#context.tunnels.has(this)) this.#cutLostTunnel();
  }

  /** Called regularly; every limit on time is looked at here, so that requests need no timers of their own. */
  tick(nowMs: number): void {
    const { settings, held } = this.#context;
    if (held.has(this)) {
      if (nowMs - (this.#heldSinceMs ?? nowMs) >= settings.limits.holdMs) this.refuse(noInstance);
      return;
    }
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    attempt.tick(nowMs);
    if (attempt.connectedMs === undefined) {
      if (nowMs - attempt.startedMs < settings.limits.connectTimeoutMs) return;
      attempt.abandon();
      this.#failed(attempt, { phase: 'notConnected', code: 'CONNECT_TIMEOUT', invalidResponse: false });
      return;
    }
    this.#watchSilence(attempt, nowMs, attempt.connectedMs);
  }

  /** Ends the exchange with an error of ours. */
  refuse(refusal: Refusal, close = false): void {
    if (this.#isOver) return;
    this.#end();
    this.#request.body?.discard();
    this.#downstream.refuse(refusal, close);
  }

  /** Ends the exchange without a word. */
  cut(): void {
    this.#end();
    this.#downstream.destroy();
  }

  bodyTooLarge(): void {
    this.refuse(bodyTooLarge, true);
  }

  #giveToNext(): void {
    if (this.#isOver) return;
    if (this.#sends >= maxSends) {
      this.refuse(everyInstanceBroke);
      return;
    }
    const { roster } = this.#context;
    const backend = roster.choose(this.#request.outgoing.stickyValues, (other) => this.#isExcluded(other));
    if (backend === undefined) this.#hold();
    else this.#send(backend, !this.#idempotent);
  }

  /**
   * Never the instance that just failed, unless things have changed since: one that took no connection may be asked
   * again once it was seen alive, one that broke off must have been away and come back.
   */
  #isExcluded(backend: Backend): boolean {
    const setback = this.#setbacks.get(backend);
    if (setback === undefined) return false;
    return setback.sent ? setback.births === backend.births : setback.lifeSigns === backend.lifeSigns;
  }

  #hold(): void {
    const { held, settings, roster } = this.#context;
    const routable = roster.routable();
    const allBroke = routable.every((backend) => {
      const setback = this.#setbacks.get(backend);
      return setback?.sent === true && this.#isExcluded(backend) && setback.lifeSigns !== backend.lifeSigns;
    });
    if (routable.length > 0 && allBroke) {
      // All of them were seen alive after they had broken off: it is the request, and waiting will not help.
      this.refuse(everyInstanceBroke);
      return;
    }
    if (this.#heldSinceMs === undefined && held.size >= settings.limits.heldRequests) {
      this.refuse(noInstance);
      return;
    }
    this.#heldSinceMs ??= settings.nowMs();
    held.add(this);
  }

  #send(backend: Backend, fresh: boolean): void {
    const { waiting, settings } = this.#context;
    const { outgoing, body } = this.#request;
    const expectsContinue = this.#request.expectsContinue && body?.hasBegun === false;
    backend.began();
    this.#charged = backend;
    this.#suspected = false;
    let attempt: Attempt;
    const headers = expectsContinue ? [...outgoing.headers, 'Expect', '100-continue'] : [...outgoing.headers];
    try {
      attempt = new Attempt(
        backend,
        { ...outgoing, headers, hasBody: body !== undefined, expectsContinue, fresh },
        {
          readyForBody: (sink, continued) => {
            if (continued) this.#downstream.sendContinue();
            body?.attach(sink);
          },
          responded: (response) => this.#responded(backend, response),
          upgraded: (response, socket, head) => this.#upgraded(backend, response, socket, head),
          failed: (failure) => this.#failed(attempt, failure),
        },
        settings.nowMs,
      );
    } catch {
      // A character that the parser let in and the writer does not let out. Nothing was sent.
      this.refuse({ status: 400, text: 'Bad request: it cannot be passed on as HTTP.' }, true);
      return;
    }
    this.#attempt = attempt;
    waiting.add(this);
  }

  #failed(attempt: Attempt, failure: AttemptFailure): void {
    const { backend } = attempt;
    const { body, outgoing } = this.#request;
    this.#settle();
    backend.suspect();
    body?.detach();
    const { code, phase } = failure;
    const { method, target } = outgoing;
    this.#context.settings.log.debug(
      { instance: backend.instance, code, phase, method, target },
      'attempt failed',
    );
    if (failure.invalidResponse) {
      backend.failed++;
      this.refuse(badResponse);
    } else if (!mayReplay({ phase, method, bodyHeld: body?.isHeld ?? true })) {
      backend.failed++;
      this.refuse(this.#idempotent ? bodyNotHeld : fateUnknown);
    } else if (phase === 'pooledClosed' && this.#context.roster.has(backend) && !backend.isGone) {
      // A kept connection that closed says nothing of the instance yet; a new one will.
      this.#send(backend, true);
    } else {
      this.#noteSetback(backend, phase !== 'notConnected');
      this.#giveToNext();
    }
  }

  #noteSetback(backend: Backend, sent: boolean): void {
    const { births, lifeSigns } = backend;
    if (sent) this.#sends++;
    this.#setbacks.set(backend, { sent, births, lifeSigns });
    backend.replayed++;
  }

  /** The instance is down or gone while we wait for it: what may be repeated goes elsewhere at once. */
  #leaveLostBackend(): void {
    const attempt = this.#attempt;
    const { roster } = this.#context;
    if (attempt === undefined) return;
    const { backend } = attempt;
    if (!backend.isGone && roster.has(backend)) return;
    const { outgoing, body } = this.#request;
    const phase = attempt.connectedMs === undefined ? 'notConnected' : 'sent';
    if (!mayReplay({ phase, method: outgoing.method, bodyHeld: body?.isHeld ?? true })) return;
    const excluded = (other: Backend) => other === backend || this.#isExcluded(other);
    const other = roster.choose(outgoing.stickyValues, excluded);
    if (!other?.healthy) return; // nobody better: the one we have may still answer
    attempt.abandon();
    this.#settle();
    body?.detach();
    this.#noteSetback(backend, phase === 'sent');
    this.#send(other, !this.#idempotent);
  }

  #cutLostTunnel(): void {
    const backend = this.#charged;
    const { roster } = this.#context;
    if (backend === undefined || (!backend.isGone && roster.has(backend))) return;
    // Without anybody else to go to, a client that comes back would only be refused.
    if (roster.choose([], (other) => other === backend)?.healthy) this.cut();
  }

  #watchSilence(attempt: Attempt, nowMs: number, connectedMs: number): void {
    const { settings } = this.#context;
    const { body } = this.#request;
    const quietMs = nowMs - Math.max(connectedMs, body?.progressMs ?? 0);
    if (body !== undefined && !body.awaitsInstance && body.hasBegun) {
      if (quietMs >= settings.limits.bodyIdleMs) this.refuse(bodyTooSlow, true);
      return;
    }
    if (quietMs >= settings.health.timeoutMs && !this.#suspected) {
      this.#suspected = true;
      attempt.backend.suspect();
    }
    if (quietMs >= settings.responseTimeoutMs) {
      attempt.backend.failed++;
      this.refuse(noResponse(this.#idempotent));
    }
  }

  #responded(backend: Backend, response: IncomingMessage): void {
    this.#context.waiting.delete(this);
    this.#request.body?.release();
    response.once('error', () => {
      if (this.#isOver) return; // the client went away, and we broke off
      backend.failed++;
      backend.suspect();
    });
    const done = () => {
      this.#end();
      this.#request.body?.discard();
    };
    try {
      this.#downstream.respond(response, this.#responseHeaders(backend, response), done);
    } catch {
      backend.failed++;
      this.refuse(badResponse);
    }
  }

  #upgraded(backend: Backend, response: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { waiting, tunnels } = this.#context;
    waiting.delete(this);
    if (this.#downstream.tunnel === undefined) {
      socket.destroy();
      backend.failed++;
      this.refuse(badResponse);
      return;
    }
    tunnels.add(this);
    const headers = this.#responseHeaders(backend, response);
    this.#downstream.tunnel(response, headers, { socket, head }, () => this.#end());
  }

  #responseHeaders(backend: Backend, response: IncomingMessage): string[] {
    const headers = withoutHopByHop(response.rawHeaders);
    const { stickyValues, secure } = this.#request.outgoing;
    if (stickyValues.length !== 1 || stickyValues[0] !== backend.cookieValue) {
      headers.push('Set-Cookie', stickySetCookie(this.#context.settings.sticky, backend.cookieValue, secure));
    }
    return headers;
  }

  #clientGone(): void {
    this.#end();
  }

  /** The backend no longer works for this request, or not for us. */
  #settle(): void {
    this.#context.waiting.delete(this);
    this.#attempt = undefined;
    this.#charged?.ended();
    this.#charged = undefined;
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#attempt?.abandon();
    this.#settle();
    this.#context.held.delete(this);
    this.#context.tunnels.delete(this);
  }
}

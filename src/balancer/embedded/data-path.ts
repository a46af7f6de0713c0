import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { AccessLog } from '../access-log.ts';
import type { ClientTraffic, InstanceTraffic } from '../engine.ts';
import type { ResponseHead } from '../http1/response-head.ts';
import type { EngineSettings } from '../options.ts';
import { type PageFiles, pageFor } from '../pages.ts';
import { isDenied } from '../path-rules.ts';
import { writeProxyHeader } from '../proxy-protocol.ts';
import { type TraceSource, traceSource } from '../trace.ts';
import type { Backend, InstanceView } from './backend.ts';
import type { Exchange } from './exchange.ts';
import type { IdempotencyDesk } from './idempotency-desk.ts';
import { LoopClock } from './loop-clock.ts';
import { Outbox } from './outbox.ts';
import { type Refusal, underMaintenance } from './refusal.ts';
import type { RequestFacts } from './request-facts.ts';
import { Roster } from './roster.ts';
import { reasonPhrase } from './status-texts.ts';
import { Stickiness } from './stickiness.ts';

/**
 * Everything that the requests of one process share: who the instances are, who waits, what is counted, and the clock
 * that looks after every limit on time. It checks no health and reads no table itself: it is told (`see`), and it says
 * when traffic noticed something odd (`suspect`).
 */
export interface Client {
  tick(nowMs: number): void;
  /** The exchanges that are under way. */
  exchanges(): Iterable<Exchange>;
  /** The balancer stops. `now`: an idle connection ends now; else with its next response. */
  endWhenIdle(now: boolean): void;
  destroy(): void;
}

export interface DataPathOptions {
  readonly settings: EngineSettings;
  readonly pages: PageFiles;
  /** Traffic saw something odd at this instance. */
  readonly suspect: (instance: string) => void;
  readonly idempotency: IdempotencyDesk | undefined;
  readonly accessLog: AccessLog | undefined;
}

const tickMs = 100;
const longestIdleGraceMs = 5_000;
/** Of the event loop, at the end. */
const mostTurns = 100;

export class DataPath {
  readonly settings: EngineSettings;
  readonly clock: LoopClock;
  readonly roster: Roster;
  readonly trace: TraceSource = traceSource(randomBytes);
  readonly cookieName: string | undefined;
  readonly hasPathRules: boolean;
  readonly idempotency: IdempotencyDesk | undefined;
  /** Requests that wait for an instance, in the order in which they came. */
  readonly held = new Set<Exchange>();
  readonly clients = new Set<Client>();
  readonly outbox = new Outbox();
  isClosing = false;
  accepted = 0;
  readonly #refusals: Record<string, number> = {};
  readonly #options: DataPathOptions;
  readonly #stickiness: Stickiness;
  readonly #ticking: NodeJS.Timeout;
  #isServingHeld = false;

  constructor(options: DataPathOptions) {
    const { settings } = options;
    this.#options = options;
    this.settings = settings;
    this.idempotency = options.idempotency;
    this.clock = new LoopClock(settings.nowMs);
    this.roster = new Roster(settings, this.clock, () => this.#serveHeld());
    this.#stickiness = new Stickiness(settings, this.roster, this.clock, () =>
      this.trace.nextTraceId().slice(0, 12),
    );
    this.cookieName = this.#stickiness.cookieName;
    this.hasPathRules = settings.deny.length > 0 || settings.routes.length > 0;
    this.#ticking = setInterval(() => this.#tick(), tickMs);
  }

  /** News of the instances: whoever waits looks again. */
  see(views: readonly InstanceView[]): void {
    this.clock.look();
    this.roster.apply(views);
    for (const client of this.clients) for (const exchange of client.exchanges()) exchange.reconsider();
  }

  suspect(backend: Backend): void {
    this.#options.suspect(backend.view.instance);
  }

  isDenied(target: string): boolean {
    return this.settings.deny.length > 0 && isDenied(target, this.settings.deny);
  }

  /** Header lines, each with CR LF, and the body of an answer of our own. */
  page(refusal: Refusal, accept: string | undefined, requestId: string): { lines: string; body: string } {
    const { status, text, retryAfterS } = refusal;
    const maintenance = refusal === underMaintenance;
    const title = reasonPhrase(status);
    const { contentType, body } = pageFor(
      { status, title, text, retryAfterS, requestId: requestId || undefined, maintenance, accept },
      this.#options.pages,
    );
    let lines = `Content-Type: ${contentType}\r\nCache-Control: no-store\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
    if (retryAfterS !== undefined) lines += `Retry-After: ${retryAfterS}\r\n`;
    if (status === 405) lines += 'Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n';
    return { lines: lines + this.hstsLine, body };
  }

  get hstsLine(): string {
    const ageMs = this.settings.tls?.hstsMs;
    return ageMs === undefined ? '' : `Strict-Transport-Security: max-age=${Math.floor(ageMs / 1_000)}\r\n`;
  }

  /** What the balancer adds to the response of an instance: header lines, each with CR LF. */
  addedHeaders(exchange: Exchange, backend: Backend, head: ResponseHead, bytes: Buffer): string {
    const sticky = this.#stickiness.linesFor(exchange.facts, backend, head, bytes);
    return this.settings.tls?.hstsMs === undefined || head.hasStrictTransport
      ? sticky
      : sticky + this.hstsLine;
  }

  /** The first bytes of a connection to an instance that wants to be told of the client so. */
  proxyHeaderFor(facts: RequestFacts): Buffer | undefined {
    const version = this.settings.proxyProtocolTo;
    if (version === undefined) return undefined;
    const { clientAddress: address, clientPort: port, localAddress, localPort } = facts;
    return writeProxyHeader(version, { address, port }, { address: localAddress, port: localPort });
  }

  refused(refusal: Refusal): void {
    this.#refusals[refusal.status] = (this.#refusals[refusal.status] ?? 0) + 1;
  }

  /** An exchange is over. `why`: what ended it, where that was not the response of an instance. */
  ended(exchange: Exchange, status: number, bytesOut: number, why?: string): void {
    const log = this.#options.accessLog;
    if (log === undefined || !log.wants(status)) return;
    const { facts, backend, body, attempts, startedMs } = exchange;
    log.write({
      requestId: facts.requestId,
      client: facts.clientAddress,
      method: facts.method,
      host: facts.host,
      target: facts.target,
      protocol: facts.protocol,
      tls: facts.tlsVersion,
      status,
      bytesIn: body.payloadBytes,
      bytesOut,
      durationMs: this.clock.nowMs - startedMs,
      instance: backend?.view.instance,
      attempts,
      replayed: attempts > 1,
      refusedBecause: why,
    });
  }

  gone(client: Client): void {
    this.clients.delete(client);
  }

  traffic(): { instances: InstanceTraffic[]; clients: ClientTraffic } {
    this.clock.look();
    const { accepted, held, clients } = this;
    return {
      instances: this.roster.traffic(),
      clients: { connections: clients.size, accepted, refusals: { ...this.#refusals }, waiting: held.size },
    };
  }

  /**
   * Connections end with their next response; those that stay idle are closed when half of the time has passed, because
   * a client may be about to send a request on one at this moment. After `graceMs` all of them end.
   */
  async close(graceMs: number): Promise<void> {
    this.isClosing = true;
    const startedMs = this.clock.look();
    const idleUntilMs = startedMs + Math.min(graceMs / 2, longestIdleGraceMs);
    while (this.clients.size > 0 && this.clock.look() < startedMs + graceMs) {
      for (const client of this.clients) client.endWhenIdle(this.clock.nowMs >= idleUntilMs);
      await new Promise((resolve) => setTimeout(resolve, Math.min(20, graceMs)));
    }
    for (const client of this.clients) client.destroy();
    // Their sockets say in one of the next turns that they are closed; the requests that were cut end with that.
    for (let turn = 0; this.clients.size > 0 && turn < mostTurns; turn++) await setImmediate();
    clearInterval(this.#ticking);
    this.roster.close();
    await this.#options.accessLog?.close();
  }

  /** There is room at an instance: those who wait are asked again, the first first. */
  #serveHeld(): void {
    if (this.held.size === 0 || this.#isServingHeld) return;
    this.#isServingHeld = true;
    for (const exchange of this.held) {
      if (!this.roster.hasRoom) break;
      exchange.reconsider();
    }
    this.#isServingHeld = false;
  }

  #tick(): void {
    const nowMs = this.clock.look();
    for (const client of this.clients) client.tick(nowMs);
    this.roster.tick(nowMs);
  }
}

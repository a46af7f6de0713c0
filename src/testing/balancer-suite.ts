import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { denyTests } from './balancer/deny.ts';
import { drainTests } from './balancer/drain.ts';
import { forwardingTests } from './balancer/forwarding.ts';
import { healthTests } from './balancer/health.ts';
import { http2Tests } from './balancer/http2.ts';
import { http2StrictnessTests } from './balancer/http2-strictness.ts';
import { idempotencyTests } from './balancer/idempotency.ts';
import { identityTests } from './balancer/identity.ts';
import { limitsTests } from './balancer/limits.ts';
import { messagesTests } from './balancer/messages.ts';
import { optionsTests } from './balancer/options.ts';
import { pagesTests } from './balancer/pages.ts';
import { proxyProtocolTests } from './balancer/proxy-protocol.ts';
import { repetitionTests } from './balancer/repetition.ts';
import { replayTests } from './balancer/replay.ts';
import { routingTests } from './balancer/routing.ts';
import type { StartEngine } from './balancer/scene.ts';
import { sharingTests } from './balancer/sharing.ts';
import { smugglingTests } from './balancer/smuggling.ts';
import { stickyTests } from './balancer/sticky.ts';
import { streamsTests } from './balancer/streams.ts';
import { Suite } from './balancer/suite.ts';
import { tlsTests } from './balancer/tls.ts';
import { tunnelTests } from './balancer/tunnel.ts';

const themes: readonly [theme: string, add: (suite: Suite) => void][] = [
  ['whom a request goes to', routingTests],
  ['stickiness', stickyTests],
  ['new users', sharingTests],
  ['health', healthTests],
  ['replay', replayTests],
  ['repetition', repetitionTests],
  ['idempotency', idempotencyTests],
  ['draining', drainTests],
  ['what is passed on', forwardingTests],
  ['messages', messagesTests],
  ['streams', streamsTests],
  ['traces and ids', identityTests],
  ['the PROXY protocol', proxyProtocolTests],
  ['tunnels', tunnelTests],
  ['limits', limitsTests],
  ['denied paths', denyTests],
  ['pages', pagesTests],
  ['smuggling', smugglingTests],
  ['TLS', tlsTests],
  ['HTTP/2', http2Tests],
  ['crooked HTTP/2', http2StrictnessTests],
  ['options', optionsTests],
];

/**
 * What every balancer engine must do, whatever it is made of. The back ends are real processes that are really
 * killed and frozen. Call it from a test file, with a function that starts the engine. `skips` says of a test, by its
 * exact name, why this engine does not do what it asks. The WebSockets of the back ends need the package `ws`.
 */
export function balancerConformance(
  name: string,
  start: StartEngine,
  skips: Readonly<Record<string, string>> = {},
): void {
  const suite = new Suite(start, skips);
  for (const [theme, add] of themes) describe(`${name}: ${theme}`, () => add(suite));
  test(`${name}: every skip names a test of the suite`, () => assert.deepEqual(suite.unknownSkips(), []));
}

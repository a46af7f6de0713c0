import { describe } from 'node:test';
import { forwardingTests } from './balancer/forwarding.ts';
import { replayTests } from './balancer/replay.ts';
import { routingTests } from './balancer/routing.ts';
import type { StartEngine } from './balancer/scene.ts';
import { strictnessTests } from './balancer/strictness.ts';
import { tunnelTests } from './balancer/tunnel.ts';

/**
 * What every balancer engine must do, whatever it is made of. The back ends are real processes that are really
 * killed and frozen. Call it from a test file, with a function that starts the engine.
 */
export function balancerConformance(name: string, start: StartEngine): void {
  describe(`${name}: whom a request goes to`, () => routingTests(start));
  describe(`${name}: replay`, () => replayTests(start));
  describe(`${name}: what is passed on`, () => forwardingTests(start));
  describe(`${name}: strictness`, () => strictnessTests(start));
  describe(`${name}: tunnels`, () => tunnelTests(start));
}

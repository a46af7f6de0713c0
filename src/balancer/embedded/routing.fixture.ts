/** What the tests of routing are made of: views of instances, and requests, with nothing in them but what a test says. */
import { stickyValue } from '../../protocol/affinity.ts';
import { seededRandom } from '../../testing/simulation/random.ts';
import type { EngineOptions } from '../engine.ts';
import { type EngineSettings, resolveOptions } from '../options.ts';
import type { InstanceView } from './backend.ts';
import { LoopClock } from './loop-clock.ts';
import { RequestFacts } from './request-facts.ts';
import { Roster } from './roster.ts';

const stickyKey = Buffer.alloc(32, 'k').toString('base64url');

export const cookieValue = (instance: string): string => stickyValue(stickyKey, instance);

/** Port 1: nobody is ever connected to. */
export const viewOf = (instance: string, more: Partial<InstanceView> = {}): InstanceView => ({
  instance,
  host: '127.0.0.1',
  port: 1,
  state: 'up',
  cookieValue: cookieValue(instance),
  healthy: true,
  births: 0,
  lifeSigns: 0,
  ejections: 0,
  ...more,
});

export interface RequestSketch {
  /** The value of the sticky cookie. */
  readonly sticky?: string;
  readonly address?: string;
  /** Header lines as they go to the instance. */
  readonly lines?: readonly string[];
  readonly secure?: boolean;
}

export function factsOf({
  sticky = '',
  address = '',
  lines = [],
  secure = false,
}: RequestSketch = {}): RequestFacts {
  const facts = new RequestFacts();
  facts.method = 'GET';
  facts.outgoing = Buffer.from(['GET / HTTP/1.1', ...lines, '', ''].join('\r\n'), 'latin1');
  facts.sticky = sticky;
  facts.clientAddress = address;
  facts.secure = secure;
  return facts;
}

export interface Desk {
  readonly settings: EngineSettings;
  readonly roster: Roster;
  readonly clock: LoopClock;
  /** The name of the instance that serves this request. */
  chosen(request?: RequestSketch, ...excluded: readonly string[]): string | undefined;
  apply(...views: readonly InstanceView[]): void;
  pass(ms: number): void;
}

/** A roster on a clock that the test moves. */
export function openDesk(options: Partial<EngineOptions>, ...names: readonly string[]): Desk {
  let nowMs = 0;
  const settings = resolveOptions({
    listen: { host: '127.0.0.1', port: 0 },
    random: seededRandom(3).next,
    ...options,
  });
  const clock = new LoopClock(() => nowMs);
  const roster = new Roster(settings, clock, () => undefined);
  roster.apply(names.map((name) => viewOf(name)));
  return {
    settings,
    roster,
    clock,
    chosen: (request, ...excluded) =>
      roster.choose(factsOf(request), ({ view }) => excluded.includes(view.instance))?.view.instance,
    apply: (...views) => roster.apply(views),
    pass(ms) {
      nowMs += ms;
      clock.look();
    },
  };
}

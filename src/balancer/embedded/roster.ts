import { stickyValue } from '../../protocol/affinity.ts';
import { keepsItsUsers } from '../../protocol/instance-state.ts';
import type { RoutingTable } from '../../protocol/routing-table.ts';
import type { EngineSettings, InstanceTraffic } from '../engine.ts';
import { Backend, type BackendEvents } from './backend.ts';
import { chooseInstance } from './choice.ts';

/** The instances of the current routing table, and who of them serves a request. */
export class Roster {
  readonly #settings: EngineSettings;
  readonly #events: BackendEvents;
  #backends: Backend[] = [];
  #byCookieValue = new Map<string, Backend>();
  #turn = 0;

  constructor(settings: EngineSettings, events: BackendEvents) {
    this.#settings = settings;
    this.#events = events;
  }

  /** Takes the new table over and returns the backends that are no longer in it. */
  apply(table: RoutingTable): Backend[] {
    const old = new Map(this.#backends.map((backend) => [backend.instance, backend]));
    const next: Backend[] = [];
    for (const routed of table.instances) {
      const cookieValue = stickyValue(table.stickyKey, routed.instance);
      const known = old.get(routed.instance);
      const isSame =
        known?.host === routed.host && known.port === routed.port && known.cookieValue === cookieValue;
      if (known !== undefined && isSame) {
        old.delete(routed.instance);
        known.setState(routed.state);
        next.push(known);
      } else {
        next.push(new Backend(routed, cookieValue, this.#settings, this.#events));
      }
    }
    this.#backends = next;
    this.#byCookieValue = new Map(next.map((backend) => [backend.cookieValue, backend]));
    for (const gone of old.values()) gone.retire();
    return [...old.values()];
  }

  choose(stickyValues: readonly string[], excluded: (backend: Backend) => boolean): Backend | undefined {
    const owner = this.#ownerOf(stickyValues);
    return chooseInstance(this.#backends, { owner, excluded, turn: this.#turn++ });
  }

  /** The instances to which users may be sent, whatever our own checks say. */
  routable(): Backend[] {
    return this.#backends.filter(({ state }) => keepsItsUsers(state));
  }

  has(backend: Backend): boolean {
    return this.#backends.includes(backend);
  }

  traffic(): InstanceTraffic[] {
    return this.#backends.map((backend) => backend.traffic());
  }

  close(): void {
    for (const backend of this.#backends) backend.retire();
  }

  #ownerOf(stickyValues: readonly string[]): Backend | undefined {
    for (const value of stickyValues) {
      const owner = this.#byCookieValue.get(value);
      if (owner !== undefined) return owner;
    }
    return undefined;
  }
}

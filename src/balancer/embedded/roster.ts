import { rendezvous } from '../../protocol/affinity.ts';
import { keepsItsUsers } from '../../protocol/instance-state.ts';
import type { InstanceTraffic } from '../engine.ts';
import type { EngineSettings } from '../options.ts';
import { Backend, type InstanceView } from './backend.ts';
import { chooseInstance, openInstances, usableInstances } from './choice.ts';
import type { LoopClock } from './loop-clock.ts';
import type { RequestFacts } from './request-facts.ts';

/** The value of the sticky cookie: who the instance is, and who of its users this is. */
const valueLength = 22;

const longestUser = 32;

/** So many keys of users are remembered with their instance, because finding it takes a hash for each instance. */
const mostRemembered = 10_000;

const nobody = (): boolean => false;

/** The instances of the current routing table, and who of them serves a request. */
export class Roster {
  readonly #settings: EngineSettings;
  readonly #clock: LoopClock;
  readonly #onRoom: () => void;
  #backends: Backend[] = [];
  /** For the ways to stick that are computed from the request: valid for the set of instances of the moment. */
  #remembered = new Map<string, Backend>();
  #rememberedFor = '';
  #isFirst = true;
  /** Rises with each change of the instances. */
  #version = 0;

  /** `onRoom`: an instance has finished a request, and may take another. */
  constructor(settings: EngineSettings, clock: LoopClock, onRoom: () => void) {
    this.#settings = settings;
    this.#clock = clock;
    this.#onRoom = onRoom;
  }

  /** Takes the new views over. Instances that are no longer among them are retired. */
  apply(views: readonly InstanceView[]): void {
    this.#version++;
    const old = new Map(this.#backends.map((backend) => [backend.view.instance, backend]));
    this.#backends = views.map((view) => {
      const known = old.get(view.instance);
      const { host, port } = known?.view ?? {};
      if (known === undefined || host !== view.host || port !== view.port)
        return new Backend(view, this.#settings, this.#clock, this.#onRoom, this.#isFirst);
      old.delete(view.instance);
      known.see(view);
      return known;
    });
    if (views.length > 0) this.#isFirst = false;
    for (const gone of old.values()) gone.retire();
  }

  choose(facts: RequestFacts, excluded: (backend: Backend) => boolean): Backend | undefined {
    const { sticky, random } = this.#settings;
    if (sticky.kind === 'header' || sticky.kind === 'address') {
      const key = sticky.kind === 'address' ? facts.clientAddress : facts.header(sticky.header.toLowerCase());
      if (key) return this.#rendezvous(key, excluded);
    }
    const owner = this.ownerOf(facts);
    const isKept = owner?.keeps(facts.user) === true;
    if (owner !== undefined && isKept && owner.isReady && !owner.isFull && !excluded(owner)) return owner;
    const isBusy = (backend: Backend) => excluded(backend) || (backend.isFull && backend !== owner);
    const request = { owner: isKept ? owner : undefined, random };
    // Where everybody is busy the request waits for one of them; where it is not, for nobody.
    return (
      chooseInstance(this.#backends, { ...request, excluded: isBusy }) ??
      chooseInstance(this.#backends, { ...request, excluded })
    );
  }

  /** Whom the sticky cookie names; and in the facts, which of its users this is. */
  ownerOf(facts: RequestFacts): Backend | undefined {
    const { sticky } = facts;
    if (facts.resolvedSticky === sticky && facts.resolvedVersion === this.#version) return facts.owner;
    const isOurs =
      sticky.length === valueLength ||
      (sticky.charCodeAt(valueLength) === 46 && sticky.length <= valueLength + 1 + longestUser);
    let owner: Backend | undefined;
    // A handful of comparisons costs less than the hash of a text that is new each time.
    if (isOurs) owner = this.#backends.find(({ view }) => sticky.startsWith(view.cookieValue));
    facts.resolvedSticky = sticky;
    facts.resolvedVersion = this.#version;
    facts.owner = owner;
    facts.user = owner === undefined ? '' : sticky.slice(valueLength + 1);
    return owner;
  }

  /** The instances to which users may be sent, whatever our own checks say. */
  routable(): Backend[] {
    return this.#backends.filter(({ state }) => keepsItsUsers(state));
  }

  get isAnyRoutable(): boolean {
    return this.#backends.some(({ state }) => keepsItsUsers(state));
  }

  /** Does any of them take another request? */
  get hasRoom(): boolean {
    return usableInstances(this.#backends, nobody).some(({ isFull }) => !isFull);
  }

  get isUnderMaintenance(): boolean {
    return this.#backends.length > 0 && this.#backends.every(({ state }) => state === 'maintenance');
  }

  hasHealthyBeside(backend: Backend): boolean {
    return this.#backends.some(
      (other) => other !== backend && other.healthy && !other.isRetired && keepsItsUsers(other.state),
    );
  }

  has(backend: Backend): boolean {
    return !backend.isRetired;
  }

  tick(nowMs: number): void {
    for (const backend of this.#backends) backend.tick(nowMs);
  }

  traffic(): InstanceTraffic[] {
    return this.#backends.map((backend) => backend.traffic());
  }

  close(): void {
    for (const backend of this.#backends) backend.retire();
  }

  #rendezvous(key: string, excluded: (backend: Backend) => boolean): Backend | undefined {
    const open = openInstances(usableInstances(this.#backends, excluded));
    const names = open.map(({ view }) => view.instance);
    const set = names.join(' ');
    if (set !== this.#rememberedFor || this.#remembered.size >= mostRemembered) {
      this.#remembered.clear();
      this.#rememberedFor = set;
    }
    const known = this.#remembered.get(key);
    if (known !== undefined && open.includes(known)) return known;
    const chosen = rendezvous(key, names);
    const backend = open.find(({ view }) => view.instance === chosen);
    if (backend !== undefined) this.#remembered.set(key, backend);
    return backend;
  }
}

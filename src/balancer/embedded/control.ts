import { stickyValue } from '../../protocol/affinity.ts';
import { assumedHealthy, type HealthState, isInDoubt, observeHealth } from '../../protocol/health.ts';
import { keepsItsUsers } from '../../protocol/instance-state.ts';
import type { RoutedInstance, RoutingTable } from '../../protocol/routing-table.ts';
import { type HealthWatch, watchHealth } from '../health-check.ts';
import type { EngineSettings } from '../options.ts';
import type { InstanceView } from './backend.ts';

/**
 * The one place that knows how the instances are: the agents' word from the routing table, and our own checks. From both
 * it makes the views that the data path of every process routes by. The agent's word counts first: an instance that its
 * agent calls down is not asked, and one that it calls up again after it was away is believed at once, so that nobody
 * waits for our checks; they correct it if need be.
 */
export class Control {
  readonly #settings: EngineSettings;
  readonly #publish: (views: readonly InstanceView[]) => void;
  #watched: Watched[] = [];

  constructor(settings: EngineSettings, publish: (views: readonly InstanceView[]) => void) {
    this.#settings = settings;
    this.#publish = publish;
  }

  apply(table: RoutingTable): void {
    const old = new Map(this.#watched.map((watched) => [watched.routed.instance, watched]));
    this.#watched = table.instances.map((routed) => {
      const known = old.get(routed.instance);
      const cookieValue = stickyValue(table.stickyKey, routed.instance);
      const isSame = known?.routed.host === routed.host && known.routed.port === routed.port;
      if (known === undefined || !isSame)
        return new Watched(routed, cookieValue, this.#settings, () => this.#tell());
      old.delete(routed.instance);
      known.cookieValue = cookieValue;
      known.hear(routed);
      return known;
    });
    for (const gone of old.values()) gone.stop();
    this.#tell();
  }

  /** Traffic saw something odd: look now. */
  suspect(instance: string): void {
    this.#watched.find(({ routed }) => routed.instance === instance)?.checkNow();
  }

  get views(): InstanceView[] {
    return this.#watched.map((watched) => watched.view);
  }

  close(): void {
    for (const watched of this.#watched) watched.stop();
  }

  #tell(): void {
    this.#publish(this.views);
  }
}

/** One instance at one address. */
class Watched {
  routed: RoutedInstance;
  cookieValue: string;
  #health: HealthState = assumedHealthy;
  #births = 0;
  #lifeSigns = 0;
  #ejections = 0;
  readonly #settings: EngineSettings;
  readonly #onNews: () => void;
  readonly #watch: HealthWatch;

  constructor(routed: RoutedInstance, cookieValue: string, settings: EngineSettings, onNews: () => void) {
    this.routed = routed;
    this.cookieValue = cookieValue;
    this.#settings = settings;
    this.#onNews = onNews;
    this.#watch = watchHealth(
      { ...routed, proxyProtocol: settings.proxyProtocolTo },
      settings.health,
      (ok, reason) => this.#observe(ok, reason),
    );
    if (keepsItsUsers(routed.state)) this.#watch.start();
  }

  get view(): InstanceView {
    const { instance, host, port, state } = this.routed;
    return {
      instance,
      host,
      port,
      state,
      cookieValue: this.cookieValue,
      healthy: this.#isHealthy,
      births: this.#births,
      lifeSigns: this.#lifeSigns,
      ejections: this.#ejections,
    };
  }

  get #isHealthy(): boolean {
    return this.#health.verdict === 'healthy';
  }

  /** The agent's word. */
  hear(routed: RoutedInstance): void {
    const wasRoutable = keepsItsUsers(this.routed.state);
    const isRoutable = keepsItsUsers(routed.state);
    this.routed = routed;
    if (isRoutable && !wasRoutable) {
      const wasHealthy = this.#isHealthy;
      this.#health = assumedHealthy;
      this.#births++;
      this.#lifeSigns++;
      this.#watch.start();
      if (!wasHealthy) this.#settings.onInstanceHealth(routed.instance, true);
    } else if (!isRoutable && wasRoutable) this.#watch.stop();
  }

  checkNow(): void {
    this.#watch.checkNow();
  }

  stop(): void {
    this.#watch.stop();
  }

  #observe(ok: boolean, reason: string): { inDoubt: boolean } {
    const wasHealthy = this.#isHealthy;
    this.#health = observeHealth(this.#health, ok, this.#settings.health);
    const isHealthy = this.#isHealthy;
    const { instance } = this.routed;
    const { log, onInstanceHealth } = this.#settings;
    if (ok) this.#lifeSigns++;
    if (isHealthy && !wasHealthy) {
      this.#births++;
      log.info({ instance }, 'the instance answers health checks again');
    } else if (!isHealthy && wasHealthy) {
      this.#ejections++;
      log.warn({ instance, reason }, 'the instance does not answer health checks');
    }
    if (isHealthy !== wasHealthy) onInstanceHealth(instance, isHealthy);
    if (isHealthy !== wasHealthy || ok) this.#onNews();
    return { inDoubt: isInDoubt(this.#health) };
  }
}

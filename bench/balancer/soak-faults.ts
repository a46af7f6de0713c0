/**
 * What befalls the instances and the balancer's configuration during the soak. Several things may go on at a time, but
 * one instance at least is always well: running, not frozen, and healthy in the eyes of the balancer. Otherwise a
 * failed request would say nothing about the balancer.
 */
import { randomBytes } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import { makeCertificate } from '../../src/balancer/certificates.fixture.ts';
import type { CertificateFiles, EngineStatus } from '../../src/balancer/engine.ts';
import type { RoutingTable } from '../../src/protocol/routing-table.ts';
import type { Random } from '../../src/testing/simulation/random.ts';
import type { SoakInstance } from './soak-instances.ts';
import type { Judge } from './soak-judge.ts';

export interface FaultScene {
  readonly judge: Judge;
  readonly random: Random;
  readonly instances: SoakInstance[];
  readonly certificate: CertificateFiles;
  readonly tlsPort: number;
  readonly drainMs: number;
  /** Of the table that the engines began with. */
  readonly stickyKey: string;
  /** Of all engines. */
  statuses(): Promise<readonly EngineStatus[]>;
  apply(table: RoutingTable): Promise<void>;
  isOver(): boolean;
}

export class Faults {
  readonly counts: Record<string, number> = {};
  readonly #scene: FaultScene;
  #stickyKey: string;

  constructor(scene: FaultScene) {
    this.#scene = scene;
    this.#stickyKey = scene.stickyKey;
  }

  /** Tells the balancer what the instances are. */
  async tell(): Promise<void> {
    const { instances, apply } = this.#scene;
    const listed = instances.filter(({ isListed }) => isListed).map((instance) => instance.routed());
    await apply({ cluster: 'soak', stickyKey: this.#stickyKey, instances: listed });
  }

  /** One thing after the other, until the soak is over. */
  async go(): Promise<void> {
    const { random, isOver } = this.#scene;
    const onInstances = Object.entries(instanceFaults);
    const onConfiguration = Object.entries(configurationFaults);
    while (!isOver()) {
      await delay(random.between(200, 2_500));
      if (random.chance(0.15)) {
        const [name, fault] = random.pick(onConfiguration);
        await fault(this, this.#scene);
        this.#count(name);
        continue;
      }
      const victim = await this.#victim();
      if (victim === undefined) continue;
      const [name, fault] = random.pick(onInstances);
      await fault(victim, this, this.#scene);
      await this.#recovered(victim);
      victim.isStruck = false;
      this.#count(name);
    }
  }

  #count(name: string): void {
    this.counts[name] = (this.counts[name] ?? 0) + 1;
  }

  changeStickyKey(): Promise<void> {
    this.#stickyKey = randomBytes(32).toString('base64url');
    return this.tell();
  }

  /** One that can be struck while another one stays well; marked as struck. */
  async #victim(): Promise<SoakInstance | undefined> {
    const { instances, random } = this.#scene;
    const healthy = await this.#healthy();
    const whole = instances.filter(({ isStruck }) => !isStruck);
    if (whole.length === 0) return undefined;
    const victim = random.pick(whole);
    if (!whole.some((other) => other !== victim && healthy(other.name))) return undefined;
    victim.isStruck = true;
    return victim;
  }

  /** Is the one of this name healthy in the eyes of every engine? */
  async #healthy(): Promise<(name: string) => boolean> {
    const statuses = await this.#scene.statuses();
    return (name) =>
      statuses.every(({ instances }) => instances.some((one) => one.instance === name && one.healthy));
  }

  async #recovered({ name }: SoakInstance): Promise<void> {
    const limitMs = performance.now() + 30_000;
    while (!(await this.#healthy())(name)) {
      if (performance.now() > limitMs) {
        this.#scene.judge.fail('recovery', `${name} is well, and was not found so within 30 s`);
        return;
      }
      await delay(100);
    }
  }
}

type InstanceFault = (victim: SoakInstance, faults: Faults, scene: FaultScene) => Promise<void>;

/** Sudden ones come without a word to the balancer; in the others the agent says what happens, as it would. */
const instanceFaults: Readonly<Record<string, InstanceFault>> = {
  async kill(victim, _faults, { judge, random }) {
    const strike = judge.strike(victim.name);
    await victim.end('SIGKILL');
    strike.untilMs = performance.now();
    await delay(random.between(0, 3_000));
    await victim.start();
  },
  async 'kill, seen by the agent'(victim, faults, { judge, random }) {
    const strike = judge.strike(victim.name);
    await victim.end('SIGKILL');
    victim.state = 'down';
    await faults.tell();
    strike.untilMs = performance.now();
    await delay(random.between(0, 2_000));
    victim.state = 'starting';
    await faults.tell();
    await victim.start({ moves: random.chance(0.5) });
    victim.state = 'up';
    await faults.tell();
  },
  async freeze(victim, _faults, { judge, random }) {
    const strike = judge.strike(victim.name);
    victim.freeze();
    await delay(random.between(300, 4_000));
    victim.thaw();
    strike.untilMs = performance.now();
  },
  async 'freeze, then lost'(victim, faults, { judge, random }) {
    const strike = judge.strike(victim.name);
    victim.freeze();
    await delay(random.between(500, 2_500));
    victim.state = 'lost';
    await faults.tell();
    await delay(random.between(0, 1_000));
    await victim.end('SIGKILL');
    strike.untilMs = performance.now();
    await victim.start();
    victim.state = 'up';
    await faults.tell();
  },
  async 'drain and restart'(victim, faults, { judge, random, drainMs }) {
    const strike = judge.strike(victim.name, { isGentle: true });
    victim.state = 'draining';
    await faults.tell();
    await delay(drainMs);
    victim.state = 'maintenance';
    await faults.tell();
    await delay(random.between(200, 1_000));
    const ending = judge.strike(victim.name);
    await victim.end('SIGTERM');
    ending.untilMs = performance.now();
    strike.untilMs = performance.now();
    victim.state = 'starting';
    await faults.tell();
    await victim.start();
    victim.state = 'up';
    await faults.tell();
  },
  async 'drain and back'(victim, faults, { judge, random, drainMs }) {
    const strike = judge.strike(victim.name, { isGentle: true });
    victim.state = 'draining';
    await faults.tell();
    await delay(random.between(0, drainMs * 1.5));
    victim.state = 'up';
    await faults.tell();
    strike.untilMs = performance.now();
  },
  async 'out of the table and back'(victim, faults, { judge, random }) {
    const strike = judge.strike(victim.name);
    victim.isListed = false;
    await faults.tell();
    await delay(random.between(0, 2_000));
    strike.untilMs = performance.now();
    victim.isListed = true;
    await faults.tell();
  },
};

type ConfigurationFault = (faults: Faults, scene: FaultScene) => Promise<void>;

const configurationFaults: Readonly<Record<string, ConfigurationFault>> = {
  'another sticky key': (faults) => faults.changeStickyKey(),
  async 'another order'(faults, { instances }) {
    instances.reverse();
    await faults.tell();
  },
  async 'the same table again'(faults) {
    for (let time = 0; time < 20; time++) await faults.tell();
  },
  'another certificate': (_faults, scene) => renewCertificate(scene),
};

const renewWithinMs = 10_000;

/** Certificate and key are two files: for a moment they do not belong together, as it is in life. */
async function renewCertificate({ certificate: files, tlsPort, judge }: FaultScene): Promise<void> {
  const { certificate, key } = await makeCertificate(['localhost']);
  await replace(files.certificate, certificate);
  await replace(files.key, key);
  const limitMs = performance.now() + renewWithinMs;
  while ((await servedCertificate(tlsPort)) !== plain(certificate)) {
    if (performance.now() > limitMs) {
      judge.fail('certificate', `a new one was not served within ${renewWithinMs / 1_000} s`);
      return;
    }
    await delay(200);
  }
}

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

const plain = (pem: string): string => pem.replace(/-----[^-]*-----|\s/g, '');

function servedCertificate(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().raw.toString('base64'));
      socket.destroy();
    });
    socket.on('error', () => resolve(''));
  });
}

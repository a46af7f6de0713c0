import { after, before, type TestContext, test } from 'node:test';
import type { Cleanup } from './cleanup.ts';
import type { Scene, StartEngine } from './scene.ts';

/**
 * The suite in the making: the engine under test, and the way to add a test to it. A test that an engine cannot pass
 * is skipped by its exact name, with the reason for all to read; a skip that names no test has outlived its cause
 * and is an error.
 */
export class Suite {
  readonly start: StartEngine;
  readonly #skips: Readonly<Record<string, string>>;
  readonly #names = new Set<string>();

  constructor(start: StartEngine, skips: Readonly<Record<string, string>>) {
    this.start = start;
    this.#skips = skips;
  }

  /** A test of its own name, in the order of the calls. */
  readonly test = (name: string, body: (t: TestContext) => Promise<void>): void => {
    if (this.#names.has(name)) throw new Error(`Two tests of the suite are called "${name}".`);
    this.#names.add(name);
    const reason = this.#skips[name];
    test(name, reason === undefined ? {} : { skip: `not with this engine: ${reason}` }, body);
  };

  /** One scene for all tests of the `describe` around it, where none of them changes it. */
  readonly sharedScene = (make: (t: Cleanup) => Promise<Scene>): (() => Scene) => {
    const cleanups: (() => void | Promise<void>)[] = [];
    let scene: Scene | undefined;
    before(async () => {
      scene = await make({ after: (work) => cleanups.push(work) });
    });
    after(async () => {
      for (const work of cleanups) await work();
    });
    return () => {
      if (scene === undefined) throw new Error('The scene is there for tests, not before them.');
      return scene;
    };
  };

  /** The skips that name no test, as far as tests were added. */
  unknownSkips(): string[] {
    return Object.keys(this.#skips).filter((name) => !this.#names.has(name));
  }
}

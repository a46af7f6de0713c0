/** A minute in the life of a small cluster, by seed: the simulation that runs a thousand times. */
import type { SimulatedDatabase } from './database.ts';
import { drawPlan } from './definitions.ts';
import type { Random } from './random.ts';
import type { Scenario } from './scenario.ts';
import { type RunResult, runScenario, type SimulationOptions } from './world.ts';

const faults = {
  beginMs: 6_000,
  messagesEndMs: 33_000,
  endMs: 40_000,
  longestMs: 15_000,
  atLeast: 3,
  atMost: 8,
};
const lastsMs = 61_000;

function drawMinute(random: Random): Scenario {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].slice(0, random.pick([2, 2, 3, 3, 3, 3, 4, 5, 7]));
  return {
    names,
    lease: { ttlMs: 5_000, heartbeatMs: 1_000 },
    faults,
    plan: drawPlan(random, names, lastsMs),
    lastsMs,
    patienceMs: 240_000,
    usesSlot: random.chance(0.5),
    stormPerSecond: 50,
    people: 'busy',
  };
}

/** The same seed makes the same run. */
export const simulate = (
  seed: number,
  database: SimulatedDatabase,
  options: SimulationOptions = {},
): Promise<RunResult> => runScenario(seed, database, drawMinute, options);

/**
 * `npm run simulate`: many seeds with progress, one seed with its trace, or a month of a realistic calendar.
 */
import { parseArgs } from 'node:util';
import { openSimulatedDatabase, type RunResult, simulate, simulateMonth } from '../../src/testing/index.ts';
import { faultKinds } from '../../src/testing/simulation/faults.ts';

const help = `npm run simulate -- [options]

Runs the real agents and the real SQL on virtual time, with faults, and checks every promise.

  --seeds N      how many seeds to run (100)
  --from N       the first of them (1)
  --seed N       one seed, exactly as before, with everything that happened
  --month        a month of 200 events in six zones instead of a minute of a few
  --days N       only so many days of it (30)
  --autumn       the clocks are set back in the north, and forward in the south
  --json         the counts as JSON at the end
  --help         this

Exit code 0: every promise held; 1: one was broken, and the trace says how; 2: wrong usage.`;

const options = {
  seeds: { type: 'string', default: '100' },
  from: { type: 'string', default: '1' },
  seed: { type: 'string' },
  month: { type: 'boolean', default: false },
  days: { type: 'string', default: '30' },
  autumn: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const;

/** Of one seed: enough for all that happens in its minute. */
const wholeTrace = 100_000;
const failureTrace = 150;

function readArguments() {
  try {
    const { values } = parseArgs({ options });
    const number = (name: 'seeds' | 'from' | 'days' | 'seed'): number => {
      const value = Number(values[name]);
      if (!Number.isSafeInteger(value) || value < 0)
        throw new TypeError(`--${name} takes a whole number, not ${values[name]}`);
      return value;
    };
    const seed = values.seed === undefined ? undefined : number('seed');
    return { ...values, seeds: number('seeds'), from: number('from'), days: number('days'), seed };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${help}`);
    return undefined;
  }
}

function explain({ seed, violation, trace }: RunResult, month: boolean): string {
  const replay = `npm run simulate -- --seed ${seed}${month ? ' --month' : ''}`;
  return `${trace.join('\n')}\n\nseed ${seed}: ${violation?.message}\nReplay with everything: ${replay}`;
}

function add(total: Map<string, number>, { happened }: RunResult): void {
  for (const [kind, count] of happened) total.set(kind, (total.get(kind) ?? 0) + count);
}

const isTerminal = process.stderr.isTTY === true;
const say = (text: string): void => {
  if (isTerminal) process.stderr.write(`\r\x1b[K${text}`);
};

async function runSeeds(
  first: number,
  count: number,
  total: Map<string, number>,
): Promise<RunResult | undefined> {
  const database = await openSimulatedDatabase();
  const startedMs = performance.now();
  for (let done = 0; done < count; done++) {
    const result = await simulate(first + done, database, { traceLines: failureTrace });
    add(total, result);
    if (result.violation) return result;
    const perSecond = ((done + 1) / (performance.now() - startedMs)) * 1_000;
    const line = `${done + 1} of ${count} seeds, ${perSecond.toFixed(1)} a second, ${faultsIn(total)} faults`;
    say(line);
    if (!isTerminal && (done + 1) % 100 === 0) console.log(line);
  }
  await database.close();
  say('');
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  console.log(`${count} seeds in ${seconds} s, ${faultsIn(total)} faults: every promise held.`);
  return undefined;
}

const faultsIn = (total: ReadonlyMap<string, number>): number =>
  faultKinds.reduce((sum, kind) => sum + (total.get(kind) ?? 0), 0);

async function runOne(seed: number, total: Map<string, number>): Promise<RunResult | undefined> {
  const database = await openSimulatedDatabase();
  const result = await simulate(seed, database, { traceLines: wholeTrace });
  add(total, result);
  if (!result.violation) console.log(`${result.trace.join('\n')}\n\nseed ${seed}: every promise held.`);
  return result.violation ? result : undefined;
}

async function runMonth(
  seed: number,
  { days, autumn }: { days: number; autumn: boolean },
  total: Map<string, number>,
): Promise<RunResult | undefined> {
  const database = await openSimulatedDatabase();
  const startedMs = performance.now();
  const result = await simulateMonth(seed, database, {
    days,
    season: autumn ? 'autumn' : 'spring',
    traceLines: failureTrace,
    onProgress: (virtualMs) => say(`day ${(virtualMs / 86_400_000).toFixed(1)} of ${days}`),
  });
  say('');
  add(total, result);
  if (result.violation) return result;
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  console.log(`seed ${seed}: ${days} days in ${seconds} s; every moment has exactly one outcome.`);
  console.log(JSON.stringify(result.verdict?.counts));
  return undefined;
}

async function main(): Promise<number> {
  const given = readArguments();
  if (!given) return 2;
  if (given.help) {
    console.log(help);
    return 0;
  }
  const total = new Map<string, number>();
  const run = (): Promise<RunResult | undefined> => {
    if (given.month) return runMonth(given.seed ?? given.from, given, total);
    return given.seed === undefined ? runSeeds(given.from, given.seeds, total) : runOne(given.seed, total);
  };
  const failed = await run();
  if (failed) console.log(explain(failed, given.month));
  if (given.json) console.log(JSON.stringify(Object.fromEntries([...total].sort())));
  return failed ? 1 : 0;
}

process.exitCode = await main();

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkLedger,
  type JournalEntry,
  type LedgerCheck,
  type LedgerOccurrence,
  type LedgerRun,
} from './ledger-checker.ts';

const event = 'invoices';
const token = (sequence: number, timeline = 1): string =>
  String((BigInt(timeline) << 40n) + BigInt(sequence));

const occurrence = (dueMs: number, more: Partial<LedgerOccurrence> = {}): LedgerOccurrence => ({
  id: `o${dueMs}`,
  event,
  place: '',
  dueMs,
  lastDueMs: dueMs,
  dues: 1,
  cause: 'schedule',
  state: 'done',
  outcome: 'succeeded',
  reason: null,
  attempts: 1,
  rerunsLeft: 0,
  ...more,
});

const run = (dueMs: number, attempt: number, outcome: LedgerRun['outcome'], timeline = 1): LedgerRun => ({
  token: token(dueMs + attempt, timeline),
  occurrence: `o${dueMs}`,
  attempt,
  outcome,
});

const entry = (dueMs: number, attempt: number, more: Partial<JournalEntry> = {}): JournalEntry => ({
  event,
  place: '',
  dueMs,
  attempt,
  token: token(dueMs + attempt),
  agent: `a#${attempt}`,
  beganMs: dueMs + 10 * attempt,
  endedMs: dueMs + 10 * attempt + 5,
  how: 'completed',
  ...more,
});

/** Due every 100 ms from 100 to 300; all of it ran and succeeded. */
const fine: LedgerCheck = {
  events: [
    {
      event,
      place: '',
      mayOverlap: false,
      periods: [{ afterMs: 0, untilMs: 300, next: (afterMs) => (Math.floor(afterMs / 100) + 1) * 100 }],
    },
  ],
  occurrences: [occurrence(100), occurrence(200), occurrence(300)],
  runs: [run(100, 1, 'succeeded'), run(200, 1, 'succeeded'), run(300, 1, 'succeeded')],
  journal: [entry(100, 1), entry(200, 1), entry(300, 1)],
  mustBeDone: true,
};

const replacing = (dueMs: number, ...by: LedgerOccurrence[]): LedgerOccurrence[] =>
  fine.occurrences.flatMap((one) => (one.dueMs === dueMs ? by : [one]));

test('P2: a ledger in which every moment succeeded once is fine, and counted', () => {
  const { violations, counts } = checkLedger(fine);
  assert.deepEqual(violations, []);
  assert.deepEqual(counts, {
    moments: 3,
    outcomes: { succeeded: 3 },
    runs: 3,
    executions: 3,
    repeated: 0,
    forgotten: 0,
  });
});

test('P2: a range of missed moments settles each of them', () => {
  const missed = occurrence(100, { lastDueMs: 300, dues: 3, outcome: 'missed', reason: 'away', attempts: 0 });
  const { violations, counts } = checkLedger({ ...fine, occurrences: [missed], runs: [], journal: [] });
  assert.deepEqual(violations, []);
  assert.deepEqual(counts.outcomes, { missed: 3 });
});

test('P2: what is due after the end may be in the ledger, open or not', () => {
  const later = occurrence(400, { state: 'waiting', outcome: null, attempts: 0 });
  assert.deepEqual(checkLedger({ ...fine, occurrences: [...fine.occurrences, later] }).violations, []);
});

test('P2: a lost run is run again, and a completion that was lost is counted', () => {
  const { violations, counts } = checkLedger({
    ...fine,
    occurrences: replacing(200, occurrence(200, { attempts: 2 })),
    runs: [
      ...fine.runs.filter(({ occurrence: of }) => of !== 'o200'),
      run(200, 1, 'lost'),
      run(200, 2, 'succeeded'),
    ],
    journal: [...fine.journal, entry(200, 2)],
  });
  assert.deepEqual(violations, []);
  assert.equal(counts.repeated, 1);
});

test('P2: what a failover forgot is counted; what nothing could forget is a violation', () => {
  const journal = [...fine.journal, entry(200, 0)];
  assert.match(checkLedger({ ...fine, journal }).violations[0] ?? '', /^P2: .* unknown to the ledger/);
  const forgiven = checkLedger({ ...fine, journal, lostTimelines: new Set([1]) });
  assert.deepEqual(forgiven.violations, []);
  assert.deepEqual([forgiven.counts.forgotten, forgiven.counts.repeated], [1, 1]);
});

test('P2: a changed calendar settles its moments up to the change, the new one those after it', () => {
  const odd = (afterMs: number): number => 50 + (Math.floor((afterMs - 50) / 100) + 1) * 100;
  const [checked] = fine.events;
  assert.ok(checked?.periods[0]);
  const { next } = checked.periods[0];
  const periods = [
    { afterMs: 0, untilMs: 220, next },
    { afterMs: 220, untilMs: 300, next: odd },
  ];
  const changed = {
    ...fine,
    events: [{ ...checked, periods }],
    occurrences: replacing(300, occurrence(250)),
    runs: [run(100, 1, 'succeeded'), run(200, 1, 'succeeded'), run(250, 1, 'succeeded')],
    journal: [entry(100, 1), entry(200, 1), entry(250, 1)],
  };
  assert.deepEqual(checkLedger(changed as LedgerCheck).violations, []);
  assert.equal(checkLedger({ ...fine, events: changed.events } as LedgerCheck).violations.length, 2);
});

const missedTwo = { outcome: 'missed', reason: 'away', attempts: 0, id: 'm' } as const;
const runsOf200 = (...runs: LedgerRun[]): LedgerRun[] => [
  ...fine.runs.filter(({ occurrence: of }) => of !== 'o200'),
  ...runs,
];

const broken: Record<string, { change: Partial<LedgerCheck>; expected: RegExp }> = {
  'a moment that is not in the ledger': {
    change: { occurrences: replacing(200), runs: runsOf200(), journal: [entry(100, 1), entry(300, 1)] },
    expected: /^P2: .* is not in the ledger/,
  },
  'a moment that is in a line of its own and in a range': {
    change: {
      occurrences: [...fine.occurrences, occurrence(100, { ...missedTwo, lastDueMs: 200, dues: 2 })],
    },
    expected: /^P2: .* in the ledger twice/,
  },
  'a moment that nobody ever defined': {
    change: { occurrences: [...fine.occurrences, occurrence(150, missedTwo)] },
    expected: /^P2: .* was not due then/,
  },
  'a later moment that the calendar does not know': {
    change: { occurrences: [...fine.occurrences, occurrence(350, missedTwo)] },
    expected: /^P2: .* was not due then/,
  },
  'a range that stands for another number of moments': {
    change: {
      occurrences: [occurrence(100, { ...missedTwo, lastDueMs: 300, dues: 2 })],
      runs: [],
      journal: [],
    },
    expected: /^P2: .* stands for 2 moments, and there were 3/,
  },
  'an event that nobody defined': {
    change: { events: [] },
    expected: /^P2: .* no such event was defined/,
  },
  'an occurrence that is still open': {
    change: {
      occurrences: replacing(200, occurrence(200, { state: 'waiting', outcome: null, attempts: 0 })),
      runs: runsOf200(),
      journal: [entry(100, 1), entry(300, 1)],
    },
    expected: /^P2: .* has no outcome: it is waiting/,
  },
  'two runs of one occurrence that succeeded': {
    change: {
      occurrences: replacing(200, occurrence(200, { attempts: 2 })),
      runs: runsOf200(run(200, 1, 'succeeded'), run(200, 2, 'succeeded')),
      journal: [...fine.journal, entry(200, 2)],
    },
    expected: /^P1: .* succeeded 2 times/,
  },
  'two runs at once in the ledger': {
    change: {
      occurrences: replacing(200, occurrence(200, { attempts: 2, state: 'running', outcome: null })),
      runs: runsOf200(run(200, 1, null), run(200, 2, null)),
    },
    expected: /^P1: .* has 2 runs that have not ended/,
  },
  'a run that runs although its occurrence has ended': {
    change: { runs: runsOf200(run(200, 1, null)) },
    expected: /^P2: .* is done with 1 runs/,
  },
  'a success that the occurrence does not know': {
    change: { occurrences: replacing(200, occurrence(200, { outcome: 'failed', reason: 'x' })) },
    expected: /^P2: .* has a run that succeeded, and its outcome is failed/,
  },
  'a success of which the journal knows nothing': {
    change: { journal: [entry(100, 1), entry(300, 1)] },
    expected: /^P2: run .* is not in the journal/,
  },
  'a success that was aborted': {
    change: { journal: [entry(100, 1), entry(200, 1, { how: 'aborted' }), entry(300, 1)] },
    expected: /^P2: run .* succeeded, and its execution aborted/,
  },
  'an attempt that is missing': {
    change: { occurrences: replacing(200, occurrence(200, { attempts: 2 })) },
    expected: /^P2: .* counts 2 attempts/,
  },
  'tokens that do not rise': {
    change: {
      occurrences: replacing(200, occurrence(200, { attempts: 2 })),
      runs: runsOf200({ ...run(200, 3, 'lost'), attempt: 1 }, run(200, 2, 'succeeded')),
      journal: [entry(100, 1), entry(200, 2), entry(300, 1)],
    },
    expected: /^P3: .* tokens that do not rise/,
  },
  'an execution that began with an older token': {
    change: {
      occurrences: replacing(200, occurrence(200, { attempts: 2 })),
      runs: runsOf200(run(200, 1, 'lost'), run(200, 2, 'succeeded')),
      journal: [...fine.journal, entry(200, 2, { beganMs: 201, endedMs: 205 })],
    },
    expected: /^P3: .* was begun with token/,
  },
  'two executions of one occurrence at once': {
    change: {
      occurrences: replacing(200, occurrence(200, { attempts: 2 })),
      runs: runsOf200(run(200, 1, 'lost'), run(200, 2, 'succeeded')),
      journal: [
        entry(100, 1),
        entry(200, 1, { endedMs: undefined, how: undefined }),
        entry(200, 2),
        entry(300, 1),
      ],
    },
    expected: /^P1: a#2 and a#1 worked on .* at the same time/,
  },
  'two occurrences of one event at once': {
    change: { journal: [entry(100, 1, { endedMs: 215 }), entry(200, 1), entry(300, 1)] },
    expected: /^P1: a#1 began .* while a#1 ran the one of/,
  },
  'a token that was executed twice': {
    change: { journal: [...fine.journal, entry(200, 1, { beganMs: 250, endedMs: 260 })] },
    expected: /^P1: run .* was executed 2 times/,
  },
  'a run that goes on although it was given back': {
    change: {
      occurrences: replacing(200, occurrence(200, { attempts: 2 })),
      runs: runsOf200(run(200, 1, 'returned'), run(200, 2, 'succeeded')),
      journal: [entry(100, 1), entry(200, 1, { how: 'failed' }), entry(200, 2), entry(300, 1)],
    },
    expected: /^P2: run .* was given back/,
  },
  'a completion that the ledger calls a failure': {
    change: {
      occurrences: replacing(200, occurrence(200, { outcome: 'failed', reason: 'x' })),
      runs: runsOf200(run(200, 1, 'failed')),
    },
    expected: /^P2: .* was completed by a#1, and the ledger says failed/,
  },
  'work that was abandoned with reruns left': {
    change: {
      occurrences: replacing(200, occurrence(200, { outcome: 'abandoned', reason: 'lost', rerunsLeft: 1 })),
      runs: runsOf200(run(200, 1, 'lost')),
    },
    expected: /^P2: .* was abandoned with 1 reruns left/,
  },
  'work that was abandoned without having been lost': {
    change: {
      occurrences: replacing(200, occurrence(200, { outcome: 'abandoned', reason: 'lost' })),
      runs: runsOf200(run(200, 1, 'failed')),
      journal: [entry(100, 1), entry(200, 1, { how: 'failed' }), entry(300, 1)],
    },
    expected: /^P2: .* was abandoned, and its last run was failed/,
  },
  'a miss without a reason': {
    change: {
      occurrences: replacing(200, occurrence(200, { outcome: 'missed', attempts: 0 })),
      runs: runsOf200(),
      journal: [entry(100, 1), entry(300, 1)],
    },
    expected: /^P2: .* was missed without a reason/,
  },
  'a miss although somebody could have run it': {
    change: {
      occurrences: replacing(200, occurrence(200, { outcome: 'missed', attempts: 0, reason: 'away' })),
      runs: runsOf200(),
      journal: [entry(100, 1), entry(300, 1)],
      couldBeRun: () => true,
    },
    expected: /^P2: .* was missed, and somebody could have run it/,
  },
  'a run of nothing': {
    change: { runs: [...fine.runs, { ...run(200, 2, 'lost'), occurrence: 'none' }] },
    expected: /^P2: run .* is of no occurrence/,
  },
};

for (const [name, { change, expected }] of Object.entries(broken)) {
  test(`P1, P2, P3: the checker finds ${name}`, () => {
    const { violations } = checkLedger({ ...fine, ...change });
    assert.ok(
      violations.some((violation) => expected.test(violation)),
      `found only: ${violations.join('; ') || 'nothing'}`,
    );
  });
}

test('P1: an event that may overlap has several executions, one for each occurrence', () => {
  const events = fine.events.map((one) => ({ ...one, mayOverlap: true }));
  const journal = [entry(100, 1, { endedMs: 215 }), entry(200, 1), entry(300, 1)];
  assert.deepEqual(checkLedger({ ...fine, events, journal }).violations, []);
});

/**
 * Ten thousand hostile requests to the engine and to Node's parser, HAProxy and nginx: whoever reads the same bytes
 * differently opens a hole. The long run is `npm run bench -- balancer --only fuzz`.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { type FuzzResult, runFuzz } from '../../bench/balancer/fuzz.ts';
import { peerNames, versionOf } from '../../bench/balancer/fuzz-targets.ts';

const requests = 10_000;

let result: FuzzResult;
before(async () => {
  result = await runFuzz({ requests, seed: 10, lanes: 16 });
});

const found = (peer: string | undefined): string[] =>
  result.counterexamples
    .filter((one) => one.peer === peer)
    .map(({ rule, detail, request }) => `${rule} (${detail}): ${request}`);

test('P10: the engine survives, passes on nothing that is not by the letter, and refuses nothing ordinary', () => {
  assert.deepEqual(found(undefined), []);
  assert.deepEqual(
    result.problems.filter((problem) => problem.includes(' ended: ')),
    [],
  );
  const { finished, refused, closed, waiting } = result.ours;
  assert.equal(finished + refused + closed + waiting, requests);
  assert.ok(finished > requests / 10, `only ${finished} requests were passed on`);
});

for (const peer of peerNames) {
  const version = versionOf(peer);
  const skip = version === undefined && `${peer} is not installed: what it refuses was not compared`;
  test(`P10: what ${peer} refuses or reads in another way is refused`, { skip }, (t) => {
    t.diagnostic(`${peer} ${version}, ${requests} requests, seed ${result.seed}`);
    assert.deepEqual(found(peer), []);
    assert.ok(result.ambiguous > requests / 100, 'the requests are too tame to show a difference');
  });
}

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { groupTitles } from '../../src/cli/doctor-view.ts';
import { checks } from '../../src/doctor/checks.ts';
import { probeVerbs } from '../../src/protocol/probe.ts';

const page = readFileSync(new URL('../../docs/doctor.md', import.meta.url), 'utf8');

/** Text by heading of the third level. */
const sections = new Map(
  page
    .split(/^### /m)
    .slice(1)
    .map((part) => [part.slice(0, part.indexOf('\n')), part.replace(/^## [\s\S]*/m, '')] as const),
);

test('every check has a section in docs/doctor.md, with what it means and a remedy, and none is left over', () => {
  const ids: string[] = checks.map(({ id }) => id);
  assert.deepEqual(
    [...sections.keys()].filter((heading) => heading.includes('.')),
    ids,
    'in the order of the examination',
  );
  for (const id of ids)
    assert.match(sections.get(id) ?? '', /\n\n[\s\S]{40,}\n\n\*\*Remedy\.\*\* .{10,}/, id);
});

test('ids are unique and made of the group and a word', () => {
  const ids = checks.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) {
    assert.match(id, /^[a-z]+\.[a-z-]+$/);
    assert.ok(Object.hasOwn(groupTitles, id.split('.')[0] ?? ''), id);
  }
});

test('every verb of the probe is explained for those who write one in another language', () => {
  const table = sections.get('In another language') ?? '';
  for (const verb of probeVerbs) assert.match(table, new RegExp(`\`${verb}\``), verb);
});

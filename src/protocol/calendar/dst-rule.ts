/**
 * What becomes of local times when the clocks change. A schedule says local times; this turns them into moments, in
 * the order of the moments and not of the clock, for where the clock goes back it shows 01:45 before 01:00. So the
 * way leads through the zone's stretches of constant offset, one after the other: inside a stretch both orders agree.
 *
 * A local time in a gap is due at the gap's end, once, however many lie in the gap and whether or not the gap's end
 * is due by itself. A local time in a fold is due at its first pass, or at both.
 *
 * A schedule that is due in every hour of the day, such as every 15 minutes, means elapsed time, so that it is due in
 * both passes of a fold, as it is in cron, and a gap of whole hours moves nothing: what would have been due in the
 * hour that is left out is due in the hour that follows at once. A gap of half an hour, or of a whole day, leaves
 * something out even so, and there the ordinary rule holds.
 */
import type { LocalSequence } from './local-sequence.ts';
import type { After } from './remembered.ts';
import type { DstRule } from './schedule.ts';
import { momentsOf, type Stretch, type Zone } from './zone.ts';

export interface DueMoments {
  readonly after: After;
  /** Is this moment due only for a local time that did not exist? */
  moved(ms: number): boolean;
}

const secondMs = 1000;
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** A local time reckoned with the offset of another season, or another side of the date line, is off by less. */
const offsetsApartMs = 2 * dayMs;

export function dueMoments(sequence: LocalSequence, zone: Zone, rule: DstRule): DueMoments {
  const byElapsedTime = sequence.everyHour && rule.repeated === undefined;
  const once = rule.repeated !== 'twice' && !byElapsedTime;

  /** Is a local time due in the gap at whose end the stretch begins? */
  const endsGapWithDue = ({ fromMs, offsetMs }: Stretch): boolean => {
    const beforeMs = zone.stretchAt(fromMs - 1).offsetMs;
    const gapMs = offsetMs - beforeMs;
    if (gapMs <= 0 || rule.skipped === 'skip') return false;
    if (byElapsedTime && gapMs % hourMs === 0 && gapMs < dayMs) return false;
    const local = sequence.after(fromMs + beforeMs - 1);
    return local !== undefined && local < fromMs + offsetMs;
  };

  const after = (ms: number): number | undefined => {
    const startMs = Math.floor(ms / secondMs) * secondMs + secondMs;
    let searchMs = startMs;
    for (;;) {
      const stretch = zone.stretchAt(searchMs);
      if (searchMs === stretch.fromMs && endsGapWithDue(stretch)) return searchMs;
      const local = sequence.after(searchMs + stretch.offsetMs - 1);
      if (local === undefined) return undefined;
      const dueMs = local - stretch.offsetMs;
      if (dueMs < stretch.untilMs) {
        if (!once || momentsOf(zone, local)[0] === dueMs) return dueMs;
        searchMs = dueMs + secondMs;
      } else {
        // Nothing is due on the clock before `local`. A fold shows again what it showed a day ago at most, so from a
        // day after the start the way to `local` holds nothing either, and is left out.
        const farMs = stretch.untilMs - startMs > dayMs ? dueMs - offsetsApartMs : stretch.untilMs;
        searchMs = Math.max(stretch.untilMs, farMs);
      }
    }
  };

  return {
    after,
    moved: (ms) => {
      const stretch = zone.stretchAt(ms);
      const local = ms + stretch.offsetMs;
      return ms === stretch.fromMs && sequence.after(local - 1) !== local && endsGapWithDue(stretch);
    },
  };
}

/** The rule as a sentence for people, to stand beside a list of due moments. */
export function dstRuleInWords(rule: DstRule): string {
  const skipped = rule.skipped === 'after' ? 'is due at the first moment after it' : 'is not due at all';
  const repeated = rule.repeated === 'twice' ? 'is due at both' : 'is due once, at the first';
  const elapsed = ' A schedule that is due in every hour of the day goes on by elapsed time instead.';
  const words = `A local time that the clocks leave out ${skipped}; one that they show twice ${repeated}.`;
  return rule.repeated === undefined ? words + elapsed : words;
}

import { closest, distance } from 'fastest-levenshtein';

/** The known word that was probably meant: the same letters in whatever order, case and spelling, or few that differ. */
export function nearestName(word: string, known: readonly string[]): string | undefined {
  if (known.length === 0 || word.length > 100) return undefined;
  const letters = (text: string) => [...text.toLowerCase().replaceAll(/[-_ ]/g, '')].sort().join('');
  const same = known.find((one) => letters(one) === letters(word));
  if (same !== undefined) return same;
  const candidate = closest(word, known);
  return distance(word, candidate) <= Math.max(1, Math.floor(candidate.length / 3)) ? candidate : undefined;
}

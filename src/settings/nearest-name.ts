import { closest, distance } from 'fastest-levenshtein';

/** The known word that was probably meant: the same letters apart from case and separators, or few that differ. */
export function nearestName(word: string, known: readonly string[]): string | undefined {
  if (known.length === 0 || word.length > 100) return undefined;
  const plain = (text: string) => text.toLowerCase().replaceAll(/[-_ ]/g, '');
  const same = known.find((one) => plain(one) === plain(word));
  if (same !== undefined) return same;
  const candidate = closest(word, known);
  return distance(word, candidate) <= Math.max(1, Math.floor(candidate.length / 3)) ? candidate : undefined;
}

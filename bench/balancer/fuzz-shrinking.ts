/**
 * Makes a counterexample small: leaves out pieces, then stretches of bytes, as long as what is left still shows the
 * same fault. Fewer bytes, fewer suspects.
 */
export interface Shrunken {
  readonly bytes: string;
  readonly trials: number;
}

export interface ShrinkOptions {
  readonly stillFails: (bytes: string) => Promise<boolean>;
  readonly nowMs: () => number;
  readonly withinMs: number;
}

export async function shrink(pieces: readonly string[], options: ShrinkOptions): Promise<Shrunken> {
  const limitMs = options.nowMs() + options.withinMs;
  let trials = 0;
  const tries = async (candidate: readonly string[]): Promise<boolean> => {
    trials++;
    return options.stillFails(candidate.join(''));
  };
  const isLate = () => options.nowMs() > limitMs;
  const fewerPieces = await withoutStretches(pieces, tries, isLate);
  const characters = [...fewerPieces.join('')];
  const fewest = await withoutStretches(characters, tries, isLate);
  return { bytes: fewest.join(''), trials };
}

/** Leaves out ever shorter stretches, from the end (what was there last is what matters least), until none can go. */
async function withoutStretches(
  items: readonly string[],
  stillFails: (items: readonly string[]) => Promise<boolean>,
  isLate: () => boolean,
): Promise<readonly string[]> {
  let kept = items;
  let length = Math.max(1, Math.floor(kept.length / 2));
  for (;;) {
    let hasShrunk = false;
    for (let start = kept.length - length; start > -length && !isLate(); start -= length) {
      const candidate = kept.filter((_, index) => index < start || index >= start + length);
      if (candidate.length === kept.length || !(await stillFails(candidate))) continue;
      kept = candidate;
      hasShrunk = true;
    }
    if (isLate() || (length === 1 && !hasShrunk)) return kept;
    if (!hasShrunk || length > kept.length) length = Math.max(1, Math.floor(length / 2));
  }
}

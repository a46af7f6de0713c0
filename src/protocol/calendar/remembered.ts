/**
 * One answer to "what comes next after x" serves every x between the one it was given for and itself. Where nothing
 * comes any more, nothing comes later either: finding that out can take a search of centuries, which is made once.
 */
export type After = (value: number) => number | undefined;

export function remembered(after: After): After {
  let askedFor = Number.POSITIVE_INFINITY;
  let answer: number | undefined;
  return (value) => {
    if (value >= askedFor && (answer === undefined || value < answer)) return answer;
    answer = after(value);
    askedFor = value;
    return answer;
  };
}

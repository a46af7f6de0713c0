import { carriageReturn, colon, isTokenByte, isValueByte, lineFeed, space, tab } from './characters.ts';

/**
 * The header lines of a message, as places in the bytes they came in. Nothing is copied: whoever passes a message on
 * copies runs of untouched lines as they are. One object serves all messages of a process, one after the other.
 */
export class FieldMarks {
  count = 0;
  /** Five numbers a line: where it begins, where its name ends, where its value begins and ends, what kind it is. */
  #marks = new Int32Array(5 * 32);

  clear(): void {
    this.count = 0;
  }

  add(start: number, nameEnd: number, valueStart: number, valueEnd: number, kind: number): void {
    const at = this.count * 5;
    if (at + 5 > this.#marks.length) this.#grow();
    const marks = this.#marks;
    marks[at] = start;
    marks[at + 1] = nameEnd;
    marks[at + 2] = valueStart;
    marks[at + 3] = valueEnd;
    marks[at + 4] = kind;
    this.count++;
  }

  start(index: number): number {
    return this.#marks[index * 5] as number;
  }

  nameEnd(index: number): number {
    return this.#marks[index * 5 + 1] as number;
  }

  valueStart(index: number): number {
    return this.#marks[index * 5 + 2] as number;
  }

  valueEnd(index: number): number {
    return this.#marks[index * 5 + 3] as number;
  }

  kind(index: number): number {
    return this.#marks[index * 5 + 4] as number;
  }

  setKind(index: number, kind: number): void {
    this.#marks[index * 5 + 4] = kind;
  }

  #grow(): void {
    const larger = new Int32Array(this.#marks.length * 2);
    larger.set(this.#marks);
    this.#marks = larger;
  }
}

/**
 * Behind the last byte that may stand in a value. Most of a head is values: four bytes are looked at together as long as
 * all of them are visible ASCII or spaces, and one by one where they are not.
 */
function endOfValue(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  for (;;) {
    while (at + 4 <= to) {
      const one = bytes[at] as number;
      const two = bytes[at + 1] as number;
      const three = bytes[at + 2] as number;
      const four = bytes[at + 3] as number;
      const isControl = ((one - space) | (two - space) | (three - space) | (four - space)) < 0;
      const isPastTilde = (((one + 1) | (two + 1) | (three + 1) | (four + 1)) & 0x180) !== 0;
      if (isControl || isPastTilde) break;
      at += 4;
    }
    if (at >= to || isValueByte[bytes[at] as number] !== 1) return at;
    at++;
  }
}

/** What a line's kind is, from its name; lines that concern nobody are `plainField`. */
export type KindOf = (bytes: Uint8Array, from: number, to: number) => number;

export const plainField = 0;

/** The bytes end before the empty line does. */
export const incompleteFields = 0;
const malformedFields = -1;
export const tooManyFields = -2;

/**
 * Reads header lines up to and including the empty line. Strict: a name is a token right before its colon, a value has
 * no control characters, a line ends in CR LF, none goes on in the next. Returns the place behind the empty line, or
 * one of the three results above.
 */
export function scanFields(
  bytes: Uint8Array,
  from: number,
  to: number,
  mostFields: number,
  kindOf: KindOf,
  fields: FieldMarks,
): number {
  fields.clear();
  let at = from;
  for (;;) {
    if (at >= to) return incompleteFields;
    const start = at;
    if (bytes[at] === carriageReturn) {
      if (at + 1 >= to) return incompleteFields;
      return bytes[at + 1] === lineFeed ? at + 2 : malformedFields;
    }
    while (at < to && isTokenByte[bytes[at] as number] === 1) at++;
    if (at >= to) return incompleteFields;
    if (bytes[at] !== colon || at === start) return malformedFields;
    const nameEnd = at++;
    while (at < to && (bytes[at] === space || bytes[at] === tab)) at++;
    const valueStart = at;
    at = endOfValue(bytes, at, to);
    if (at + 1 >= to) return at < to && bytes[at] !== carriageReturn ? malformedFields : incompleteFields;
    if (bytes[at] !== carriageReturn || bytes[at + 1] !== lineFeed) return malformedFields;
    let valueEnd = at;
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === space || bytes[valueEnd - 1] === tab))
      valueEnd--;
    at += 2;
    if (fields.count >= mostFields) return tooManyFields;
    fields.add(start, nameEnd, valueStart, valueEnd, kindOf(bytes, start, nameEnd));
  }
}

import { space } from './characters.ts';
import type { HeadWriter } from './head-writer.ts';

/**
 * Takes one cookie out of what an instance sees. The other cookies stay as they were, byte for byte. Usually it stands
 * there once, as `; NAME=value`, and then the header is copied around it without being taken apart.
 */
export class CookieTaker {
  readonly #name: string;
  readonly #nameBytes: Buffer;
  /** The value of the first one. */
  value = '';
  /** How many there were in this request. */
  count = 0;

  constructor(name: string) {
    this.#name = name;
    this.#nameBytes = Buffer.from(name, 'latin1');
  }

  /** A new request begins. */
  reset(): void {
    this.value = '';
    this.count = 0;
  }

  /** Writes the Cookie line that is left of a header's value, or nothing. */
  write(writer: HeadWriter, bytes: Buffer, from: number, to: number): void {
    const at = this.#find(bytes, from, to);
    const valueAt = at + this.#nameBytes.length + 1;
    if (at < 0) {
      writer.block(lineStart);
      writer.run(bytes, from, to);
      writer.lineEnd();
      return;
    }
    const isFirst = at === from;
    const isUsual =
      this.count === 0 &&
      (isFirst || (bytes[at - 1] === space && bytes[at - 2] === semicolon)) &&
      valueAt <= to &&
      bytes[valueAt - 1] === equals &&
      bytes[valueAt] !== quote &&
      bytes[valueAt] !== space &&
      this.#find(bytes, valueAt, to) < 0;
    if (isUsual) this.#writeAround(writer, bytes, from, to, at, valueAt);
    else this.#takeApart(writer, bytes.toString('latin1', from, to));
  }

  #writeAround(
    writer: HeadWriter,
    bytes: Buffer,
    from: number,
    to: number,
    at: number,
    valueAt: number,
  ): void {
    let end = valueAt;
    while (end < to && bytes[end] !== semicolon) end++;
    let valueEnd = end;
    while (valueEnd > valueAt && bytes[valueEnd - 1] === space) valueEnd--;
    this.value = bytes.toString('latin1', valueAt, valueEnd);
    this.count = 1;
    // Before it up to the semicolon in front of it, or behind it from what follows the semicolon.
    const beforeEnd = Math.max(from, at - 2);
    let behind = end;
    if (at === from && behind < to) for (behind++; behind < to && bytes[behind] === space; behind++);
    if (beforeEnd === from && behind >= to) return;
    writer.block(lineStart);
    if (beforeEnd > from) writer.run(bytes, from, beforeEnd);
    if (behind < to) writer.run(bytes, behind, to);
    writer.lineEnd();
  }

  /** Where the name stands in the value of a header; -1: nowhere. */
  #find(bytes: Buffer, from: number, to: number): number {
    const name = this.#nameBytes;
    const first = name[0];
    const last = to - name.length;
    for (let at = from; at <= last; at++) {
      if (bytes[at] !== first) continue;
      let index = 1;
      while (index < name.length && bytes[at + index] === name[index]) index++;
      if (index === name.length) return at;
    }
    return -1;
  }

  #takeApart(writer: HeadWriter, cookies: string): void {
    const others = cookies.split(';').filter((part) => {
      const at = part.indexOf('=');
      if (at < 0 || part.slice(0, at).trim() !== this.#name) return true;
      if (this.count++ === 0) this.value = unquoted(part.slice(at + 1).trim());
      return false;
    });
    const rest = others.join(';').trim();
    if (rest !== '') writer.text(`Cookie: ${rest}\r\n`);
  }
}

const lineStart = Buffer.from('Cookie: ', 'latin1');
const semicolon = 59;
const equals = 61;
const quote = 34;

const unquoted = (text: string): string =>
  text.length > 1 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;

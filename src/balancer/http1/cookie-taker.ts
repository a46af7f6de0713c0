/**
 * Takes one cookie out of what an instance sees. The other cookies stay as they were, byte for byte. The requests of a
 * connection mostly bear the same cookies, so what became of the latest header is remembered.
 */
export class CookieTaker {
  readonly #name: string;
  /** The value of the first one. */
  value = '';
  /** How many there were in this request. */
  count = 0;
  #seen: Buffer | undefined;
  #seenLine: Buffer = Buffer.alloc(0);
  #seenValue = '';
  #seenCount = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** A new request begins. */
  reset(): void {
    this.value = '';
    this.count = 0;
  }

  /** Takes the value of a Cookie header; returns the line that is left, with its CR LF, or nothing. */
  take(bytes: Buffer, from: number, to: number): Buffer {
    if (this.count > 0) return this.#takeApart(bytes.toString('latin1', from, to));
    if (this.#seen === undefined || this.#seen.compare(bytes, from, to) !== 0) {
      this.#seenLine = this.#takeApart(bytes.toString('latin1', from, to));
      this.#seenValue = this.value;
      this.#seenCount = this.count;
      this.#seen = Buffer.from(bytes.subarray(from, to));
    }
    this.value = this.#seenValue;
    this.count = this.#seenCount;
    return this.#seenLine;
  }

  #takeApart(cookies: string): Buffer {
    const others = cookies.split(';').filter((part) => {
      const equals = part.indexOf('=');
      if (equals < 0 || part.slice(0, equals).trim() !== this.#name) return true;
      if (this.count++ === 0) this.value = unquoted(part.slice(equals + 1).trim());
      return false;
    });
    const rest = others.join(';').trim();
    return rest === '' ? Buffer.alloc(0) : Buffer.from(`Cookie: ${rest}\r\n`, 'latin1');
  }
}

const unquoted = (text: string): string =>
  text.length > 1 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;

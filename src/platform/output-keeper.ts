/**
 * What a command printed, for people to read later: the beginning, which says what it set out to do, and the
 * end, which says how that went. A command that prints without end costs no more memory than one that prints a
 * page. The text is valid UTF-8 without zero characters, so any store takes it; cuts fall between characters.
 */
export interface OutputKeeper {
  push(bytes: Uint8Array): void;
  /** The limit counts what was printed; the words that say what was left out come on top. */
  end(): { readonly output: string; readonly truncated: boolean };
}

export function keepOutput(limitBytes: number): OutputKeeper {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const head: Buffer[] = [];
  let headRoom = Math.ceil(limitBytes / 2);
  let tailLimit = 0;
  /** Written up to `tailEnd`; twice as long as what is kept, so that moving the end to the front is rare. */
  let tail: Buffer | undefined;
  let tailEnd = 0;
  let total = 0;

  const append = (text: string): void => {
    const bytes = Buffer.from(text.replaceAll('\0', '\ufffd'));
    total += bytes.length;
    appendTail(tail === undefined ? appendHead(bytes) : bytes);
  };
  /** Takes what fits; the rest begins the tail. */
  const appendHead = (bytes: Buffer): Buffer => {
    const cut = bytes.length <= headRoom ? bytes.length : characterStart(bytes, headRoom, -1);
    head.push(bytes.subarray(0, cut));
    headRoom -= cut;
    if (cut === bytes.length) return bytes.subarray(cut);
    tailLimit = limitBytes - (total - bytes.length + cut);
    tail = Buffer.alloc(tailLimit * 2);
    return bytes.subarray(cut);
  };
  const appendTail = (bytes: Buffer): void => {
    if (tail === undefined) return;
    if (tailEnd + bytes.length > tail.length) {
      const kept = Math.max(0, Math.min(tailEnd, tailLimit - bytes.length));
      tail.copy(tail, 0, tailEnd - kept, tailEnd);
      tailEnd = kept;
    }
    const last = bytes.length > tailLimit ? bytes.subarray(bytes.length - tailLimit) : bytes;
    tailEnd += last.copy(tail, tailEnd);
  };

  return {
    push: (bytes) => append(decoder.decode(bytes, { stream: true })),
    end() {
      append(decoder.decode());
      const first = Buffer.concat(head);
      const written = tail?.subarray(0, tailEnd) ?? Buffer.alloc(0);
      const fits = total <= limitBytes;
      const start = fits ? 0 : characterStart(written, Math.max(0, tailEnd - tailLimit), 1);
      const last = written.subarray(start);
      if (fits) return { output: `${first}${last}`, truncated: false };
      const leftOut = total - first.length - last.length;
      return { output: `${first}\n… [${leftOut} bytes left out] …\n${last}`, truncated: true };
    },
  };
}

/** The nearest place at or beyond `at`, in this direction, that is not inside a character. */
function characterStart(bytes: Buffer, at: number, direction: 1 | -1): number {
  let place = at;
  while (place < bytes.length && ((bytes[place] ?? 0) & 0xc0) === 0x80) place += direction;
  return place;
}

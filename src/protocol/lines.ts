/**
 * Bytes in, lines out. What a process prints arrives in pieces that know nothing of lines or of characters: a
 * piece may end inside a line, inside `\r\n`, inside a character of four bytes, and need not be UTF-8 at all.
 * The splitter keeps what is unfinished and no more of it than the limit, so that a process which prints
 * gigabytes without a newline costs no memory; what was left out is said in the line itself.
 */
export interface LineSplitter {
  /** The lines that these bytes complete, without their line ends. */
  push(bytes: Uint8Array): string[];
  /** The unfinished last line, if there is one. The splitter is empty afterwards. */
  end(): string[];
}

const defaultLineLimit = 16_384;

export function lineSplitter(limit: number = defaultLineLimit): LineSplitter {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let kept = '';
  let length = 0;

  const append = (text: string): void => {
    length += text.length;
    // One more than the limit: a carriage return that belongs to the line end must not count as content.
    if (kept.length <= limit) kept += text.slice(0, limit + 1 - kept.length);
  };
  const finish = (): string => {
    const line = finishedLine(kept, length, limit);
    kept = '';
    length = 0;
    return line;
  };
  const lines = (text: string): string[] => {
    const pieces = text.split('\n');
    const last = pieces.pop() ?? '';
    const complete = pieces.map((piece) => {
      append(piece);
      return finish();
    });
    append(last);
    return complete;
  };

  return {
    push: (bytes) => lines(decoder.decode(bytes, { stream: true })),
    end: () => {
      const complete = lines(decoder.decode());
      return length > 0 ? [...complete, finish()] : complete;
    },
  };
}

function finishedLine(kept: string, length: number, limit: number): string {
  if (length <= limit) return kept.endsWith('\r') ? kept.slice(0, -1) : kept;
  if (length === limit + 1 && kept.endsWith('\r')) return kept.slice(0, -1);
  const lastUnit = kept.charCodeAt(limit - 1);
  const splitsPair = lastUnit >= 0xd800 && lastUnit <= 0xdbff;
  const head = kept.slice(0, splitsPair ? limit - 1 : limit);
  return `${head}… [${length - head.length} more characters cut]`;
}

/** The fields of a line that is one JSON object, as structured loggers print; undefined for any other line. */
export function jsonFields(line: string): Record<string, unknown> | undefined {
  const text = line.trim();
  if (!text.startsWith('{') || !text.endsWith('}')) return undefined;
  try {
    // Braces at both ends: what parses is an object.
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    // Not JSON: an ordinary line that happens to have braces.
    return undefined;
  }
}

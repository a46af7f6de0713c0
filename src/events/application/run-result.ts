/** What a handler returned, as the ledger keeps it: text, or JSON, up to a limit. */

const resultLimitBytes = 4_096;

/** Undefined where there is nothing to keep. */
export function resultText(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return cut(typeof value === 'string' ? value : asJson(value));
}

export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message || error.name : String(error);
  return cut(message);
}

/** The work is done by now: a result that cannot be written must not make a failure of it. */
function asJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch (error) {
    return `(a result that is no JSON: ${error instanceof Error ? error.message : String(error)})`;
  }
}

/** At the limit, but not in the middle of a character. PostgreSQL keeps no NUL. */
function cut(text: string): string {
  const clean = text.toWellFormed().replaceAll('\0', '\u{fffd}');
  const bytes = Buffer.from(clean);
  if (bytes.length <= resultLimitBytes) return clean;
  let end = resultLimitBytes;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

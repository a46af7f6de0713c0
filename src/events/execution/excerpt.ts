/**
 * What is kept of the words of others: a beginning that any store takes. PostgreSQL refuses zero characters and lone
 * surrogates, and one such text would hold up every other result that is sent with it.
 */

export const excerptLimitBytes = 4_096;

/** Well-formed, without zero characters, cut between characters; null where there is nothing. */
export function excerptOf(text: string, limitBytes = excerptLimitBytes): string | null {
  if (text === '') return null;
  const clean = text.toWellFormed().replaceAll('\0', '\u{fffd}');
  // The decoder keeps a character that the limit cut in two to itself.
  const cut = (bytes: Uint8Array): string => new TextDecoder().decode(bytes, { stream: true });
  const bytes = Buffer.from(clean);
  return bytes.length <= limitBytes ? clean : cut(bytes.subarray(0, limitBytes));
}

/** What a handler returned, as the ledger keeps it: text, or JSON, up to a limit. */
import { excerptOf } from '../execution/excerpt.ts';

/** Undefined where there is nothing to keep. */
export function resultText(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return excerptOf(typeof value === 'string' ? value : asJson(value)) ?? '';
}

export function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message || error.name : String(error);
  return excerptOf(message) ?? '';
}

/** The work is done by now: a result that cannot be written must not make a failure of it. */
function asJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch (error) {
    return `(a result that is no JSON: ${error instanceof Error ? error.message : String(error)})`;
  }
}

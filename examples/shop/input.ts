/** What a request brought, checked. A field that is missing or wrong is named in the answer, and nothing changes. */
import { Refusal } from './refusal.ts';

/** A line of text from a form or a JSON body, trimmed. */
export function textField(body: unknown, name: string, maxLength: number): string {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new Refusal(400, `Send a form or a JSON object with the field "${name}".`);
  }
  const value: unknown = Object.hasOwn(body, name) ? (body as Record<string, unknown>)[name] : undefined;
  if (value === undefined) throw new Refusal(400, `The field "${name}" is missing.`);
  if (typeof value !== 'string') throw new Refusal(400, `The field "${name}" must be one text.`);
  const text = value.trim();
  if (text === '') throw new Refusal(400, `The field "${name}" is empty.`);
  if (text.length > maxLength) {
    throw new Refusal(400, `The field "${name}" is longer than ${maxLength} characters.`);
  }
  if (!text.isWellFormed() || /\p{Cc}/u.test(text)) {
    throw new Refusal(400, `The field "${name}" contains characters that are not text.`);
  }
  return text;
}

/** The name of a note: it becomes part of a session key, so it is kept plain. */
export function noteName(body: unknown): string {
  const name = textField(body, 'key', 64);
  if (!/^[\w.-]+$/.test(name)) {
    throw new Refusal(400, 'The field "key" may have letters, digits, dots, dashes and underscores.');
  }
  return name;
}

/** What the shop says no to, on purpose: the message is for the person who asked. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly statusCode: number;

  constructor(statusCode: number, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.statusCode = statusCode;
  }
}

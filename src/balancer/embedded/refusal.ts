/** What a client is told when its request cannot be carried: a status and one sentence that a person understands. */
export interface Refusal {
  readonly status: number;
  readonly text: string;
  readonly retryAfterS?: number;
}

export const noInstance: Refusal = {
  status: 503,
  text: 'No instance of the application can be reached at the moment. Try again in a second.',
  retryAfterS: 1,
};

export const allBusy: Refusal = {
  status: 503,
  text: 'All instances of the application are busy at the moment. Try again in a few seconds.',
  retryAfterS: 2,
};

export const underMaintenance: Refusal = {
  status: 503,
  text: 'The application is under maintenance. Please come back in a little while.',
  retryAfterS: 30,
};

export const everyInstanceBroke: Refusal = {
  status: 502,
  text: 'Every instance of the application broke the connection instead of answering this request.',
};

export const fateUnknown: Refusal = {
  status: 502,
  text:
    'The instance was lost while it worked on this request. Its fate is unknown: it may have been carried out ' +
    'or not. It was not repeated, because repeating it could do it twice. Check before trying again.',
};

export const bodyNotHeld: Refusal = {
  status: 502,
  text:
    'The instance was lost while it worked on this request, and the request body was too large to be kept for ' +
    'another instance. The request may safely be sent again.',
};

export const noResponse = (repeatable: boolean): Refusal => ({
  status: 504,
  text: repeatable
    ? 'The application did not answer in time. The request may safely be sent again.'
    : 'The application did not answer in time. The fate of the request is unknown: it may still be carried ' +
      'out. Check before trying again.',
});

export const badResponse: Refusal = {
  status: 502,
  text: 'The application answered with something that is not a valid HTTP response.',
};

export const bodyTooLarge: Refusal = {
  status: 413,
  text: 'The request body is larger than this server takes.',
};

export const bodyTooSlow: Refusal = { status: 408, text: 'The rest of the request did not arrive in time.' };

export const headTooSlow: Refusal = { status: 408, text: 'The request did not arrive in time.' };

export const badChunks: Refusal = {
  status: 400,
  text: 'Bad request: the body is not validly chunked.',
};

export const notFound: Refusal = { status: 404, text: 'There is nothing at this address.' };

export const keyUnavailable: Refusal = {
  status: 503,
  text: 'Whether this Idempotency-Key was used before cannot be found out at the moment. Try again in a second.',
  retryAfterS: 1,
};

export const keyRunning: Refusal = {
  status: 409,
  text: 'A request with this Idempotency-Key is under way. Ask again for its result in a second.',
  retryAfterS: 1,
};

export const keyUnknown: Refusal = {
  status: 409,
  text:
    'The instance was lost while it worked on the request with this Idempotency-Key. Its fate is unknown. Check ' +
    'before trying again under a new key.',
};

export const keyMismatch: Refusal = {
  status: 422,
  text: 'This Idempotency-Key was used for another request.',
};

export const badKey: Refusal = {
  status: 400,
  text: 'Bad request: the Idempotency-Key is empty or longer than 255 characters.',
};

/** What a client is told when its request cannot be carried: a status and one sentence a person understands. */
export interface Refusal {
  readonly status: number;
  readonly text: string;
  readonly retryAfterS?: number;
}

export const statusTexts: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  431: 'Request Header Fields Too Large',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

export const badRequest = (reason: string): Refusal => ({ status: 400, text: `Bad request: ${reason}.` });

export const noInstance: Refusal = {
  status: 503,
  text: 'No instance of the application can be reached at the moment. Try again in a second.',
  retryAfterS: 1,
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

export const noResponse = (idempotent: boolean): Refusal => ({
  status: 504,
  text: idempotent
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

/** Name and value pairs for the refusal's head; the body is `refusalBody`. */
export function refusalHeaders(refusal: Refusal, close: boolean): string[] {
  const headers = ['Content-Type', 'text/plain; charset=utf-8', 'Cache-Control', 'no-store'];
  headers.push('Content-Length', String(Buffer.byteLength(refusalBody(refusal))));
  if (refusal.retryAfterS !== undefined) headers.push('Retry-After', String(refusal.retryAfterS));
  if (refusal.status === 405) headers.push('Allow', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS');
  if (close) headers.push('Connection', 'close');
  return headers;
}

export const refusalBody = (refusal: Refusal): string => `${refusal.text}\n`;

/** The whole refusal as bytes, for a connection that has no response object. */
export function rawRefusal(refusal: Refusal): string {
  return `${rawHead(refusal.status, statusTexts[refusal.status] ?? '', refusalHeaders(refusal, true))}${refusalBody(refusal)}`;
}

/** Status line and headers as they go over the wire, in latin1. */
export function rawHead(status: number, statusText: string, headers: readonly string[]): string {
  let head = `HTTP/1.1 ${status} ${statusText}\r\n`;
  for (let i = 0; i + 1 < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return `${head}\r\n`;
}

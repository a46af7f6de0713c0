import { isHost } from '../../protocol/forwarded.ts';
import type { Limits } from '../engine.ts';
import { badRequest, type Refusal } from './refusal.ts';

/**
 * Strictness beyond the HTTP parser's. Two servers that read one request differently are a hole: what one takes for
 * a body, the other takes for the next request. So whatever could be read in two ways is refused here, before any
 * instance sees a byte of it.
 */
export interface RequestHead {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
}

export interface CheckedRequest {
  /** Path and query, or `*`. */
  readonly target: string;
  /** Undefined only where an HTTP/1.0 client sent none. */
  readonly host: string | undefined;
  readonly chunked: boolean;
  readonly contentLength: number | undefined;
  readonly hasBody: boolean;
  readonly expectsContinue: boolean;
}

export type RequestCheck =
  | { readonly refusal: Refusal; readonly request?: undefined }
  | { readonly refusal?: undefined; readonly request: CheckedRequest };

export function checkRequest(head: RequestHead, limits: Limits): RequestCheck {
  const { rawHeaders } = head;
  if (rawHeaders.length / 2 > limits.headerCount) {
    return { refusal: { status: 431, text: `The request has more than ${limits.headerCount} headers.` } };
  }
  const found = framingHeaders(rawHeaders);
  const { hosts, lengths, codings } = found;
  if (hosts.length > 1) return { refusal: badRequest('more than one Host header') };
  if (lengths.length > 1) return { refusal: badRequest('more than one Content-Length header') };
  if (codings.length > 0 && lengths.length > 0) {
    return { refusal: badRequest('Content-Length and Transfer-Encoding together') };
  }
  const length = lengths[0];
  if (length !== undefined && !/^\d{1,15}$/.test(length)) {
    return { refusal: badRequest('Content-Length is not a number') };
  }
  const chunked = codings.length > 0;
  if (codings.length > 1 || (chunked && codings[0]?.toLowerCase() !== 'chunked')) {
    return { refusal: { status: 501, text: 'The only transfer coding that is understood is chunked.' } };
  }
  const contentLength = length === undefined ? undefined : Number(length);
  if (contentLength !== undefined && contentLength > limits.bodyBytes) {
    return { refusal: { status: 413, text: `The request body is larger than ${limits.bodyBytes} bytes.` } };
  }
  const place = checkTarget(head, hosts[0]);
  if ('refusal' in place) return { refusal: place.refusal };
  const hasBody = chunked || (contentLength ?? 0) > 0;
  const expectsContinue = hasBody && found.expectsContinue;
  return { request: { ...place, chunked, contentLength, hasBody, expectsContinue } };
}

function checkTarget(
  { method, url }: RequestHead,
  hostHeader: string | undefined,
): { target: string; host: string | undefined } | { refusal: Refusal } {
  if (!/^[!-~]+$/.test(url)) return { refusal: badRequest('the target has characters that no URL has') };
  if (url.includes('#')) return { refusal: badRequest('the target has a fragment') };
  // An empty Host is legal (RFC 9112, section 3.2) and says as much as none.
  let host = hostHeader === '' ? undefined : hostHeader;
  let target = url;
  const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(url);
  if (absolute) {
    host = absolute[1] as string;
    const rest = absolute[2] as string;
    target = rest.startsWith('/') ? rest : `/${rest}`;
  }
  if (host !== undefined && !isHost(host)) return { refusal: badRequest('the Host is not a host name') };
  const isStar = target === '*' && method === 'OPTIONS';
  if (!target.startsWith('/') && !isStar) return { refusal: badRequest('the target is not a path') };
  return { target, host };
}

function framingHeaders(rawHeaders: readonly string[]) {
  const hosts: string[] = [];
  const lengths: string[] = [];
  const codings: string[] = [];
  let expectsContinue = false;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const value = rawHeaders[i + 1] as string;
    switch ((rawHeaders[i] as string).toLowerCase()) {
      case 'host':
        hosts.push(value);
        break;
      case 'content-length':
        lengths.push(value);
        break;
      case 'transfer-encoding':
        codings.push(value);
        break;
      case 'expect':
        expectsContinue = value.toLowerCase() === '100-continue';
        break;
    }
  }
  return { hosts, lengths, codings, expectsContinue };
}

/** May this request become a tunnel? Only one without a body; HTTP/2 by upgrade would hide requests from us. */
export function mayUpgrade({ method, rawHeaders }: Omit<RequestHead, 'url'>): boolean {
  if (method !== 'GET') return false;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    const value = (rawHeaders[i + 1] as string).toLowerCase();
    if (name === 'transfer-encoding' || (name === 'content-length' && value !== '0')) return false;
    if (name === 'upgrade' && value.split(',').some((token) => /^h2c?\b|^http\b/.test(token.trim())))
      return false;
  }
  return true;
}

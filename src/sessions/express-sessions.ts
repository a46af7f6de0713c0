/**
 * express-session with three things added: the version cookie goes in and out, the response waits for the save,
 * and a session that cannot be had is a 503 and not an empty session.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { SessionOptions } from 'express-session';
import { holdResponse, responseMethods } from './held-response.ts';
import { newRequestContext, requestContext } from './request-context.ts';
import type { SessionCore } from './session-core.ts';
import { SessionStore } from './session-store.ts';
import { hasContent } from './session-values.ts';
import {
  type CookieAttributes,
  cookieNamed,
  type VersionSigner,
  versionCookieLine,
} from './version-cookie.ts';

type Next = (error?: unknown) => void;

/** Fits `app.use(…)`. */
export type ExpressMiddleware = (request: IncomingMessage, response: ServerResponse, next: Next) => void;

/** express-session's own options; the store is given. */
export type ExpressSessionOptions = Omit<SessionOptions, 'store' | 'resave'>;

/** `import session from 'express-session'`. */
// biome-ignore lint/suspicious/noExplicitAny: express-session's handler is typed with Express' own requests.
export type ExpressSessionFactory = (options: any) => (request: any, response: any, next: Next) => void;

interface SessionRequest extends IncomingMessage {
  session?: (object & { id: string; cookie: CookieAttributes; save(callback: Next): unknown }) | null;
  sessionID?: string;
}

export function expressSessions(
  core: SessionCore,
  signer: VersionSigner,
  factory: ExpressSessionFactory,
  options: ExpressSessionOptions,
): ExpressMiddleware {
  const store = new SessionStore(core, signer);
  const settings = { saveUninitialized: false, ...options, resave: false, store };
  const inner = factory(settings);
  const versionCookieName = `${options.name ?? 'connect.sid'}.v`;

  return (plainRequest, response, next) => {
    const request: SessionRequest = plainRequest;
    if (request.session) return next();
    const context = newRequestContext(cookieNamed(request.headers.cookie, versionCookieName));
    const headersBefore = response.getHeaders();
    const plain = responseMethods(response);
    const inContext = <T>(work: () => T): T => requestContext.run(context, work);

    // Below express-session's own patches, so that its session cookie is already set when this runs.
    addHeaderBeforeHead(response, () => {
      const session = request.session;
      const value = session && inContext(() => store.versionCookie(session.id, session));
      context.headersMade = true;
      return session && value ? versionCookieLine(versionCookieName, value, session.cookie) : undefined;
    });

    inContext(() =>
      inner(request, response, (error) => {
        if (error || !request.session) return next(error);
        const originalId = request.sessionID;
        // Above them: nothing of the response gets past before the session is saved.
        holdResponse(
          response,
          () => inContext(() => commit(store, request, originalId, settings)),
          (failure) => {
            forgetAnswer(response, headersBefore);
            next(failure);
          },
          plain,
        );
        next();
      }),
    );
  };
}

/** Whatever express-session would do at the end of the response, before its beginning. */
function commit(
  store: SessionStore,
  request: SessionRequest,
  originalId: string | undefined,
  settings: { readonly saveUninitialized?: boolean | undefined; readonly unset?: string | undefined },
): Promise<void> | undefined {
  const { session, sessionID } = request;
  if (!session) {
    if (settings.unset !== 'destroy' || sessionID === undefined) return undefined;
    return settled((callback) => store.destroy(sessionID, callback));
  }
  const known = store.snapshotOf(session.id, session) !== undefined;
  const wanted = known
    ? store.hasChanges(session.id, session)
    : settings.saveUninitialized || session.id !== originalId || hasContent(session);
  if (wanted) return settled((callback) => session.save(callback));
  return known ? settled((callback) => store.touch(session.id, session, callback)) : undefined;
}

/** A promise, unless the callback came at once and without an error. */
function settled(start: (callback: Next) => void): Promise<void> | undefined {
  let finished = false;
  const promise = new Promise<void>((resolve, reject) => {
    start((error) => {
      finished = !error;
      if (error) reject(error);
      else resolve();
    });
  });
  return finished ? undefined : promise;
}

function addHeaderBeforeHead(response: ServerResponse, cookieLine: () => string | undefined): void {
  const writeHead = response.writeHead as (...args: unknown[]) => ServerResponse;
  let added = false;
  response.writeHead = ((...args: unknown[]) => {
    const line = added ? undefined : cookieLine();
    added = true;
    if (line) response.appendHeader('Set-Cookie', line);
    return writeHead.apply(response, args);
  }) as ServerResponse['writeHead'];
}

/** The answer was made on the assumption that its session is saved; what replaces it starts afresh. */
function forgetAnswer(
  response: ServerResponse,
  headersBefore: NodeJS.Dict<number | string | string[]>,
): void {
  if (response.headersSent) return;
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  for (const [name, value] of Object.entries(headersBefore)) {
    if (value !== undefined) response.setHeader(name, value);
  }
}

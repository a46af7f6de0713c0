/**
 * @fastify/session with two things added: the version cookie goes in and out, and every save knows what its
 * request read. The plugin saves in `onSend`, before any header, so the response waits by itself.
 *
 * What a request read is kept in its asynchronous context. Libraries that queue work across requests can lose that
 * context in a handler, so it is entered anew before the handler and before `onSend`.
 */
import type { FastifySessionOptions } from '@fastify/session';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { newRequestContext, type RequestContext, requestContext } from './request-context.ts';
import type { SessionCore } from './session-core.ts';
import { SessionStore } from './session-store.ts';
import {
  type CookieAttributes,
  cookieNamed,
  type VersionSigner,
  versionCookieLine,
} from './version-cookie.ts';

/** @fastify/session's own options; the store is given. */
export type FastifySessionsOptions = Omit<FastifySessionOptions, 'store'>;

/** `import session from '@fastify/session'`. */
// biome-ignore lint/suspicious/noExplicitAny: the type of a plugin depends on how its package is imported.
export type FastifySessionPlugin = (...args: any[]) => any;

/** Fits `app.register(…)`. */
export type FastifySessionsPlugin = (app: FastifyInstance) => Promise<void>;

interface SessionRequest {
  session?: (object & { sessionId?: string; cookie?: CookieAttributes }) | null;
}

export function fastifySessions(
  core: SessionCore,
  signer: VersionSigner | undefined,
  sessionPlugin: FastifySessionPlugin,
  options: FastifySessionsOptions,
): FastifySessionsPlugin {
  const store = new SessionStore(core, signer);
  const contexts = new WeakMap<FastifyRequest, RequestContext>();
  const versionCookieName = `${options.cookieName ?? 'sessionId'}.v`;

  const enter = (request: FastifyRequest, next: () => void): void => {
    const context = contexts.get(request);
    if (context) requestContext.run(context, next);
    else next();
  };

  async function plugin(app: FastifyInstance): Promise<void> {
    app.addHook('onRequest', (request, _reply, next) => {
      contexts.set(request, newRequestContext(cookieNamed(request.headers.cookie, versionCookieName)));
      enter(request, next);
    });
    app.addHook('preHandler', (request, _reply, next) => enter(request, next));
    app.addHook('onSend', (request, _reply, _payload, next) => enter(request, next));

    await app.register(sessionPlugin, {
      saveUninitialized: false,
      ...options,
      store,
    } as unknown as FastifySessionOptions);

    app.addHook('onSend', async (request: FastifyRequest, reply: FastifyReply) => {
      const { session } = request as SessionRequest;
      const id = session?.sessionId;
      if (!session || id === undefined) return;
      enter(request, () => {
        const value = store.versionCookie(id, session);
        const context = requestContext.getStore();
        if (context) context.headersMade = true;
        if (value)
          reply.header('set-cookie', versionCookieLine(versionCookieName, value, session.cookie ?? {}));
      });
      await touched(store, request, id, session, enter);
    });
  }

  // What fastify-plugin would set: the hooks are for the whole application, not for a scope of their own.
  return Object.assign(plugin, {
    [Symbol.for('skip-override')]: true,
    [Symbol.for('fastify.display-name')]: 'holdfast-sessions',
  });
}

/** @fastify/session never touches a session that it does not save. */
function touched(
  store: SessionStore,
  request: FastifyRequest,
  id: string,
  session: object,
  enter: (request: FastifyRequest, next: () => void) => void,
): Promise<void> {
  return new Promise((resolve) => {
    enter(request, () => {
      const known = store.snapshotOf(id, session) !== undefined;
      // A touch that could not be written waits for the next batch; the answer need not fail for it.
      if (known) store.touch(id, session, () => resolve());
      else resolve();
    });
  });
}

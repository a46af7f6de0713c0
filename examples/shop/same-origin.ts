/**
 * A form on another site must not be able to act for a visitor. The session cookie is SameSite=Lax, so browsers do
 * not send it along; and a browser says where a POST comes from, so a foreign origin is refused outright. Scripts
 * send no Origin and have no visitor to betray.
 */
import type { FastifyInstance } from 'fastify';
import { Refusal } from './refusal.ts';

export function refuseForeignOrigins(app: FastifyInstance): void {
  app.addHook('onRequest', async (request) => {
    const { origin } = request.headers;
    if (request.method !== 'POST' || origin === undefined) return;
    // request.host is what the browser asked for: X-Forwarded-Host, from a balancer that is trusted.
    if (!URL.canParse(origin) || new URL(origin).host !== request.host.toLowerCase()) {
      throw new Refusal(403, `A form on ${origin} cannot be sent to this shop.`);
    }
  });
}

/**
 * What the shop keeps about a visitor, in the session. Top-level keys are what concurrent requests merge by: two
 * notes are two keys, so neither overwrites the other; visits and basket say how two changes of one key add up.
 *
 * Every change is saved before the answer is made. So a failure is known in time, and the answer shows what is
 * stored, with what other requests of the same visitor stored meanwhile.
 */
import fastifySession from '@fastify/session';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
// In an application of your own: from 'holdfast/sessions'.
import { mergeAppended, mergeCounter, openSessions, type Sessions } from '../../src/sessions/index.ts';
import type { Viewer } from './pages.ts';
import { Refusal } from './refusal.ts';

declare module 'fastify' {
  interface Session {
    user?: string;
    visits?: number;
    basket?: string[];
  }
}

const cookieName = 'sessionId';
const notePrefix = 'note:';
const notesAtMost = 1_000;
const itemsAtMost = 500;

/** Database, lifetimes and what happens while the database is away come from the agent, in the environment. */
export async function keepSessions(app: FastifyInstance, secret: string): Promise<Sessions> {
  const sessions = openSessions({ merge: { visits: mergeCounter, basket: mergeAppended }, log: app.log });
  await app.register(
    sessions.fastify(fastifySession, {
      secret,
      cookieName,
      cookie: { path: '/', httpOnly: true, sameSite: 'lax', secure: 'auto' },
      rolling: false, // a visit that changes nothing writes nothing
    }),
  );
  return sessions;
}

export function viewerOf(request: FastifyRequest, instance: string): Viewer {
  const { user, visits = 0, basket = [] } = request.session;
  return { user, instance, visits, basketSize: basket.length };
}

/** A new session id, so that one that was planted in a visitor's browser beforehand does not become theirs. */
export async function logIn(request: FastifyRequest, user: string): Promise<void> {
  request.session.user = user;
  if (request.cookies[cookieName] === undefined) await request.session.save();
  else await request.session.regenerate(['user']);
}

export async function logOut(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (request.cookies[cookieName] === undefined) return;
  await request.session.destroy();
  reply.clearCookie(cookieName, { path: '/' });
}

/** Visits of people who are not logged in are not counted: they need no session. */
export async function countVisit(request: FastifyRequest): Promise<void> {
  const { session } = request;
  if (session.user === undefined) return;
  session.visits = (session.visits ?? 0) + 1;
  await session.save();
}

export async function addToBasket(request: FastifyRequest, item: string): Promise<void> {
  const { basket = [] } = request.session;
  if (basket.length >= itemsAtMost) {
    throw new Refusal(409, `The basket is full: it holds ${itemsAtMost} items.`);
  }
  request.session.basket = [...basket, item];
  await request.session.save();
}

/** What was ordered is out of the basket; what another request put into it meanwhile stays. */
export async function emptyBasket(
  request: FastifyRequest,
  isOrdered: (item: string) => boolean,
): Promise<void> {
  const { basket = [] } = request.session;
  request.session.basket = basket.filter((item) => !isOrdered(item));
  await request.session.save();
}

export async function keepNote(request: FastifyRequest, name: string, value: string): Promise<void> {
  const notes = notesOf(request);
  if (!Object.hasOwn(notes, name) && Object.keys(notes).length >= notesAtMost) {
    throw new Refusal(409, `There is room for ${notesAtMost} notes, and they are taken.`);
  }
  (request.session as unknown as Record<string, unknown>)[notePrefix + name] = value;
  await request.session.save();
}

export function notesOf(request: FastifyRequest): Record<string, string> {
  const notes = Object.entries(request.session).filter(([key]) => key.startsWith(notePrefix));
  return Object.fromEntries(notes.map(([key, value]) => [key.slice(notePrefix.length), String(value)]));
}

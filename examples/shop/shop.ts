/** The shop: which address does what. */
import fastifyCookie from '@fastify/cookie';
import fastifyFormbody from '@fastify/formbody';
import fastifyMultipart from '@fastify/multipart';
import { type FastifyInstance, type FastifyRequest, fastify, LogController } from 'fastify';
import { answer, answerChange, answerProblems, wantsJson } from './answers.ts';
import { type CatalogueReader, openCatalogue, seed } from './catalogue.ts';
import { type Database, openDatabase } from './database.ts';
import { handleEvents } from './events.ts';
import { noteName, textField } from './input.ts';
import { ordersPage, type StockReport, stockPage } from './office-pages.ts';
import { ordersOf, placeOrder } from './orders.ts';
import { basketPage, loginPage, notesPage, shopPage, whoamiPage } from './pages.ts';
import { openPictureCopies, type PictureCopies } from './picture-copies.ts';
import { openPictures, type PictureStore, pictureLimitBytes } from './pictures.ts';
import { tellDoctor } from './probe.ts';
import { Refusal } from './refusal.ts';
import { refuseForeignOrigins } from './same-origin.ts';
import { closeConnectionsWhenStopping } from './stopping.ts';
import { publish, takeUpload } from './uploads.ts';
import {
  addToBasket,
  countVisit,
  emptyBasket,
  keepNote,
  keepSessions,
  logIn,
  logOut,
  notesOf,
  viewerOf,
} from './visitor.ts';

export interface ShopOptions {
  readonly instance: string;
  readonly databaseUrl: string;
  readonly filesDirectory: string;
  /** Of this instance alone; what is in it may go. */
  readonly temporaryDirectory: string;
  /** Signs the session cookies; the same for every instance. At least 32 characters. */
  readonly secret: string;
  /** Whose word on addresses and protocol is believed: a balancer's. */
  readonly trustedProxies: string;
  readonly logLevel: string;
}

interface ShopParts {
  readonly instance: string;
  readonly database: Database;
  readonly catalogue: CatalogueReader;
  readonly pictures: PictureStore;
}

/** Ready to listen; `close()` finishes what is under way, then closes sessions and database. */
export async function openShop(options: ShopOptions): Promise<FastifyInstance> {
  const { instance } = options;
  const app = fastify({
    logger: { level: options.logLevel },
    logController: new LogController({ disableRequestLogging: true }),
    trustProxy: options.trustedProxies,
    bodyLimit: 64 * 1024,
  });
  const database = openDatabase(options.databaseUrl, seed);
  app.addHook('onClose', () => database.close());
  const pictures = await openPictures(options.filesDirectory);
  const copies = await openPictureCopies(options.temporaryDirectory, pictures);
  const parts = { instance, database, catalogue: openCatalogue(database), pictures };
  closeConnectionsWhenStopping(app);
  answerProblems(app, instance);
  refuseForeignOrigins(app);

  // These two ask nobody: an instance is healthy, and pictures are there, while the database is away.
  app.get('/health', async () => ({ status: 'ok' }));
  servePictures(app, copies);
  await handleEvents(app, { instance, database, copies });

  await app.register(async (visited) => {
    await visited.register(fastifyCookie);
    await visited.register(fastifyFormbody);
    await visited.register(fastifyMultipart);
    const sessions = await keepSessions(visited, options.secret);
    visited.addHook('onClose', () => sessions.close());
    showPages(visited, parts);
    logInAndOut(visited, parts);
    keepBasketAndNotes(visited, parts);
    takeOrders(visited, parts);
    takePictures(visited, parts);
    await tellDoctor(visited, { instance, database, filesDirectory: options.filesDirectory });
  });
  return app;
}

function showPages(app: FastifyInstance, { instance, catalogue }: ShopParts): void {
  app.get('/', async (request, reply) => {
    const viewer = viewerOf(request, instance);
    const known = await catalogue.read();
    const data = {
      user: viewer.user ?? null,
      instance,
      visits: viewer.visits,
      products: known.products.map((product) => ({ ...product, pictures: product.pictures.map(pictureUrl) })),
      gallery: known.gallery.map(pictureUrl),
    };
    return answer(request, reply, data, () => shopPage(viewer, known));
  });

  app.get('/whoami', async (request, reply) => {
    await countVisit(request);
    const viewer = viewerOf(request, instance);
    const { watch } = request.query as Record<string, unknown>;
    return answer(request, reply, { user: viewer.user ?? null, instance, visits: viewer.visits }, () =>
      whoamiPage(viewer, watch !== undefined),
    );
  });
}

function logInAndOut(app: FastifyInstance, { instance }: ShopParts): void {
  app.get('/login', async (request, reply) => {
    const viewer = viewerOf(request, instance);
    return answer(request, reply, { user: viewer.user ?? null, instance }, () => loginPage(viewer));
  });

  app.post('/login', async (request, reply) => {
    const user = textField(request.body, 'user', 40);
    await logIn(request, user);
    return answerChange(request, reply, { user, instance }, { next: '/' });
  });

  app.post('/logout', async (request, reply) => {
    await logOut(request, reply);
    return answerChange(request, reply, { user: null, instance }, { next: '/' });
  });
}

function keepBasketAndNotes(app: FastifyInstance, { instance, catalogue }: ShopParts): void {
  const basketOf = (request: FastifyRequest) => {
    const { user = null, basket: items = [] } = request.session;
    return { user, items };
  };
  const notesAnswer = (request: FastifyRequest) => ({
    user: request.session.user ?? null,
    notes: notesOf(request),
  });

  app.get('/basket', async (request, reply) => {
    const data = basketOf(request);
    if (wantsJson(request)) return data;
    const known = await catalogue.read();
    return answer(request, reply, data, () => basketPage(viewerOf(request, instance), data.items, known));
  });

  app.post('/basket', { preHandler: loggedInOnly }, async (request, reply) => {
    await addToBasket(request, textField(request.body, 'item', 100));
    return answerChange(request, reply, basketOf(request), { next: '/basket' });
  });

  app.get('/notes', async (request, reply) => {
    const data = notesAnswer(request);
    return answer(request, reply, data, () => notesPage(viewerOf(request, instance), data.notes));
  });

  app.post('/notes', { preHandler: loggedInOnly }, async (request, reply) => {
    await keepNote(request, noteName(request.body), textField(request.body, 'value', 1_000));
    return answerChange(request, reply, notesAnswer(request), { next: '/notes' });
  });
}

function takeOrders(app: FastifyInstance, { instance, database, catalogue }: ShopParts): void {
  app.get('/orders', { preHandler: loggedInOnly }, async (request, reply) => {
    const { user = '' } = request.session;
    const orders = await ordersOf(database, user);
    return answer(request, reply, { user, orders }, () => ordersPage(viewerOf(request, instance), orders));
  });

  app.post('/orders', { preHandler: loggedInOnly }, async (request, reply) => {
    const { user = '', basket = [] } = request.session;
    const { products } = await catalogue.read();
    const known = new Set(products.map(({ id }) => id));
    const number = await placeOrder(database, user, basket, known);
    await emptyBasket(request, (item) => known.has(item));
    return answerChange(request, reply, { user, number }, { statusCode: 201, next: '/orders' });
  });

  app.get('/stock', async (request, reply) => {
    const [report] = await database.query<StockReport>(
      'select text, due, made_by as "madeBy" from shop.stock_report order by due desc limit 1',
    );
    return answer(request, reply, { instance, report: report ?? null }, () =>
      stockPage(viewerOf(request, instance), report),
    );
  });
}

function takePictures(app: FastifyInstance, parts: ShopParts): void {
  app.addContentTypeParser(
    /^(image\/|application\/octet-stream)/,
    { parseAs: 'buffer' },
    (_request, body, done) => done(null, body),
  );

  // Somebody who is not logged in is told so before a large body is read.
  app.post(
    '/pictures',
    { preParsing: loggedInOnly, bodyLimit: pictureLimitBytes + 64 * 1024 },
    async (request, reply) => {
      const { content, product } = await takeUpload(request);
      const id = await publish({ content, product, user: request.session.user ?? '' }, parts);
      if (wantsJson(request)) reply.header('location', pictureUrl(id));
      return answerChange(request, reply, { id, url: pictureUrl(id) }, { statusCode: 201, next: '/' });
    },
  );
}

function servePictures(app: FastifyInstance, pictures: PictureCopies): void {
  app.get<{ Params: { id: string } }>('/pictures/:id', async (request, reply) => {
    const { id } = request.params;
    const picture = await pictures.read(id);
    if (!picture) throw new Refusal(404, 'There is no such picture.');
    const etag = `"${id}"`;
    reply.headers({
      etag,
      // What a name stands for never changes.
      'cache-control': 'public, max-age=31536000, immutable',
      'content-security-policy': "default-src 'none'; sandbox",
    });
    const known = request.headers['if-none-match']
      ?.split(',')
      .some((tag) => tag.trim().replace(/^W\//, '') === etag);
    return known ? reply.code(304).send() : reply.type(picture.contentType).send(picture.content);
  });
}

function pictureUrl(id: string): string {
  return `/pictures/${id}`;
}

/** A person is shown where to log in; a script is told. */
async function loggedInOnly(request: FastifyRequest, reply: Parameters<typeof logOut>[1]): Promise<unknown> {
  if (request.session.user !== undefined) return undefined;
  if (wantsJson(request)) throw new Refusal(401, 'Log in first: POST /login with the field "user".');
  return reply.redirect('/login', 303);
}

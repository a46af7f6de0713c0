/** One instance of a small application: node server.ts <holdfast | connect-pg-simple> <database url> */
import type { AddressInfo } from 'node:net';
import express from 'express';
import expressSession from 'express-session';
import { openSessions } from '../../src/sessions/index.ts';
import { openConnectPgSimple } from './stores.ts';

declare module 'express-session' {
  interface SessionData {
    user: string;
  }
}

const [, , kind = '', url = ''] = process.argv;
const settings = {
  secret: 'the same on every instance',
  saveUninitialized: false,
  cookie: { maxAge: 1_800_000 },
};
const app = express();

if (kind === 'holdfast') {
  app.use(openSessions({ database: url }).express(expressSession, settings));
} else {
  app.use(expressSession({ ...settings, resave: false, store: openConnectPgSimple(url).store }));
}
app.post('/login/:user', (request, response) => {
  request.session.user = request.params.user;
  response.sendStatus(204);
});
app.get('/whoami', (request, response) => void response.json({ user: request.session.user }));

const server = app.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.once('disconnect', () => process.exit());

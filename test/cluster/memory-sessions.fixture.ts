/** An application as teams bring it: Express, with sessions in the memory of each instance. It has a probe. */
import express from 'express';
import session from 'express-session';
import { openProbe } from '../../src/doctor/index.ts';

const app = express();
app.set('trust proxy', 'loopback');
app.get('/health', (_request, response) => {
  response.send('ok');
});
app.use(session({ secret: 'of these tests', resave: false, saveUninitialized: false }));
app.use(openProbe().express());
app.listen(Number(process.env.PORT), '127.0.0.1');

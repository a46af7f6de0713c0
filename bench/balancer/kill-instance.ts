/**
 * An application that can be killed: an answer takes it 10 ms, so that there is always something in flight. It
 * writes down every order (POST) before it does anything else, in a file that survives it; so it can be counted
 * afterwards what really arrived. Arguments: port, file.
 */
import { openSync, writeSync } from 'node:fs';
import http from 'node:http';
import { health } from './configurations.ts';

export type Question = 'listen' | 'requests';

const [port, file = ''] = process.argv.slice(2);
const workMs = 10;
const orders = openSync(file, 'a');
let requests = 0;

const server = http.createServer((request, response) => {
  if (request.url === health.path) {
    response.end();
    return;
  }
  requests++;
  if (request.method === 'POST') writeSync(orders, `${request.url}\n`);
  request.resume();
  setTimeout(() => response.end('done'), workMs);
});
// Longer than anything here lasts: a connection that closes because it was idle is another experiment.
server.keepAliveTimeout = 120_000;
process.on('message', (question: Question) => {
  if (question === 'listen') server.listen(Number(port), '127.0.0.1');
  else process.send?.(requests);
});
process.once('disconnect', () => process.exit());
process.send?.('ready');

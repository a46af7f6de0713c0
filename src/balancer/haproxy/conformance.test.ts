import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { balancerConformance } from '../../testing/balancer-suite.ts';
import type { Engine, EngineOptions } from '../engine.ts';
import { startInThread } from './worker-engine.fixture.ts';

/**
 * HAProxy against the suite of all engines. What it cannot do is listed here with the reason, for which there is no
 * setting, rule or command in HAProxy 2.6; docs/haproxy.md tells users what it means for them.
 */
const binary = process.env.HAPROXY ?? 'haproxy';
const { status, stdout } = spawnSync(binary, ['-v'], { encoding: 'utf8' });
const isThere = status === 0;
const isNewer = Number(/version (\d+)/.exec(stdout ?? '')?.[1]) >= 3;

const because = (reason: string, ...names: readonly string[]): Record<string, string> =>
  Object.fromEntries(names.map((name) => [name, reason]));

const refused = (...whats: readonly string[]): string[] => whats.map((what) => `P10: refused: ${what}`);

const choice = {
  ...because(
    'HAProxy weighs instances by what they have to do, not by how long they take for it.',
    'an instance that answers slowly gets fewer new users',
  ),
  ...because(
    'HAProxy warms up all instances when it starts; the test is over by then, and everybody is cold alike.',
    'an instance that comes back gets few new users at first, and its full share later',
  ),
  ...because(
    'HAProxy looks at an instance at once when a request fails there, not while one waits.',
    'silence in traffic leads to a check at once',
  ),
};

const replay = {
  ...because(
    'HAProxy counts attempts, four at most, and does not know which instances a request was sent to.',
    'a GET that breaks every instance is tried once at each and then answered with 502',
  ),
  ...because(
    'HAProxy spends its attempts on idle connections to the one instance that died, and then closes the connection.',
    'P7: with one instance only, requests wait while it is restarted, and not one GET fails',
  ),
  ...because(
    'HAProxy copies whole buffers, so by default ours are too small for this body; replay.test.ts has a smaller one.',
    'P7: the body of an idempotent request goes with it to the next instance',
  ),
  ...because(
    'HAProxy cannot keep responses; an engine with a ledger is refused at the start.',
    'P7: a POST that is sent again under its key gets the response of the first',
    'P7: other keys, and requests without one, are carried out each',
    'P7: a failure of the application is a response like any other',
    'P7: a POST that was never sent is as if its key had not been used',
    'P7: a request whose response is too large to be kept is not repeated either',
    'P7: the same key while the first request is under way is 409',
    'P7: the same key for another request is 422',
    'P7: a request that was lost with its instance is unknown from then on: 409, and never carried out again',
    'P10: a key that nobody can look up is 503, and nothing is sent',
    'P10: a key that is too long is refused',
  ),
};

const messages = {
  ...because('HAProxy has no rules for interim responses.', 'an HTTP/1.0 client gets no interim response'),
  ...because(
    'HAProxy has no rules for trailers: all of them pass.',
    'trailers of a request pass to the instance, except those that only a head may hold',
    'P10: a trailer that speaks of framing never reaches the instance',
    'HTTP/2: trailers pass both ways',
  ),
  ...because(
    'HAProxy takes a reset for the end of a response that ends with its connection.',
    'a response that ends with its connection is not taken for whole when the connection breaks',
    'by TLS too, a response that ends with its connection is not taken for whole when the connection breaks',
    'HTTP/2: a response that breaks off resets its stream, and no other',
  ),
  ...because(
    'HAProxy finds the broken chunk before it has passed anything on, and answers 502.',
    'P10: a chunked response that is broken in the middle breaks off at the client too',
  ),
  ...because(
    'HAProxy 2.6 passes control characters in the headers of responses.',
    'P10: a response with a zero byte in a header is 502',
  ),
  ...because(
    'HAProxy takes no WebSocket handshake without Sec-WebSocket-Key, and this one has none; tunnels.test.ts has one.',
    'a WebSocket goes through both ways, with its first bytes, to the instance of its user',
    'a new user gets the cookie with the handshake',
    'P7: a handshake that found nobody goes to another instance',
    'a handshake that the application refuses is refused in its own words',
    'an instance that is killed takes its tunnels with it, so that clients come back',
    'a frozen instance loses its tunnels to a healthy one',
    'a draining instance keeps its tunnels, and a new table disturbs none',
    'a tunnel on which nothing moves is cut, and one on which something moves is not',
    'WebSockets of a draining instance are closed one by one before the deadline',
    'a WebSocket goes through TLS',
  ),
};

const limits = {
  ...because(
    'HAProxy cuts such a client without a word once the request is on its way to an instance.',
    'P10: a client that does not finish its body is told so and cut',
  ),
  ...because(
    'HAProxy has no limit for a whole request, and none for a rate.',
    'P10: a request that takes too long altogether is 408, however steadily it comes',
    'P10: a body that comes too slowly on the average is 408',
  ),
  ...because(
    'HAProxy wants the PROXY header in one piece, as its specification says.',
    'a PROXY header that arrives byte by byte is the same header',
  ),
  ...because(
    'HAProxy 2.6 takes numbers above 255 in a PROXY header modulo 256.',
    'P10: who must send a PROXY header and sends an address that is none is refused',
  ),
};

const smuggling = {
  ...because(
    'HAProxy drops Content-Length beside chunks before any rule sees it, as RFC 9112 allows, and ends the connection.',
    ...refused(
      'Content-Length and Transfer-Encoding together (CL.TE)',
      'Transfer-Encoding and Content-Length together (TE.CL)',
    ),
  ),
  ...because(
    'HAProxy refuses it with 422, and the suite knows 400 and 501.',
    ...refused('a transfer coding that is not understood'),
  ),
  ...because(
    'HAProxy makes one length of equal ones before any rule sees them.',
    ...refused('the same Content-Length twice', 'a list of lengths'),
  ),
  ...because(
    'HAProxy joins the lines of a folded header before any rule sees it; instances get one line.',
    ...refused('a header that goes on in the next line', 'a header that goes on after a tab'),
  ),
  ...because(
    'HAProxy takes a bare line feed for the end of a line; instances get CR LF.',
    ...refused(
      'lines that end in a bare line feed',
      'one line that ends in a bare line feed',
      'headers that end in a bare line feed',
      'a chunk size that ends in a bare line feed',
      'a chunk that ends in a bare line feed',
    ),
  ),
  ...because(
    'HAProxy takes any blanks between the words of a request line; instances get one space.',
    ...refused('a tab in place of a space', 'two spaces before the target'),
  ),
  ...because(
    'HAProxy takes the preface for two requests, and answers each with 400.',
    ...refused('the preface of HTTP/2'),
  ),
  ...because(
    'HAProxy reads chunk sizes as RFC 9112 allows, extensions included; instances get chunks that it made itself.',
    ...refused(
      'a space after a chunk size',
      'a chunk size with too many zeros',
      'a chunk extension',
      'an empty chunk extension',
      'a chunk extension that hides a line feed',
    ),
  ),
  ...because(
    'HAProxy has no rules for trailers.',
    ...refused(
      'a trailer that goes on in the next line',
      'trailers that end in a bare line feed',
      'trailers that are too large',
    ),
  ),
};

const newer = {
  ...because(
    'HAProxy 3.0 ends what waits for an instance that is marked down, instead of repeating it.',
    'P7: a frozen instance fails no GET and delays none by 3 s',
    'P7: a repeatable POST waiting on an instance that freezes is replayed in time',
    'P7: a GET that an instance was working on when it froze is replayed in time',
  ),
  ...because(
    'HAProxy 3.0 counts a response that was lost twice.',
    'P7: a POST in the hands of an instance that dies is answered 502 and its fate is called unknown',
    'P7: a POST on a route declared repeatable is replayed when its instance dies',
    'P7: a route is declared by whole segments and by method: its neighbours are not replayed',
    'HTTP/2: P7: a POST in the hands of an instance that dies is 502, and its connection goes on',
  ),
};

async function start(options: EngineOptions): Promise<Engine> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-'));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    const engine = await startInThread(options, { folder, binary, slots: 4 });
    return { ...engine, close: (how) => engine.close(how).finally(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}

if (isThere) {
  const skips = { ...choice, ...replay, ...messages, ...limits, ...smuggling, ...(isNewer ? newer : {}) };
  balancerConformance('HAProxy engine', start, skips);
} else {
  test('HAProxy engine', { skip: 'there is no haproxy on this machine' }, () => undefined);
}

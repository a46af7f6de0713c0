import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EngineOptions } from '../engine.ts';
import { parseResponseHead, ResponseHead } from '../http1/response-head.ts';
import { cookieValue, factsOf, openDesk, type RequestSketch, viewOf } from './routing.fixture.ts';
import { Stickiness } from './stickiness.ts';

const byCookie = { sticky: { kind: 'cookie', cookie: 'h', session: 'SESSION' } } as const;
const byApplication = { sticky: { kind: 'application', cookie: 'h', session: 'SESSION' } } as const;

/** Two instances, and what the balancer adds to the responses of the first. New users are u1, u2, … */
function openCounter(options: Partial<EngineOptions>) {
  const desk = openDesk(options, 'shop-1', 'shop-2');
  let users = 0;
  const stickiness = new Stickiness(desk.settings, desk.roster, desk.clock, () => `u${++users}`);
  const first = () => {
    const [backend] = desk.roster.routable();
    assert.ok(backend);
    return backend;
  };
  return {
    ...desk,
    stickiness,
    first,
    added(
      request: RequestSketch & { readonly ambiguous?: boolean } = {},
      ...setCookies: readonly string[]
    ): string {
      const lines = [
        'HTTP/1.1 200 OK',
        ...setCookies.map((cookie) => `Set-Cookie: ${cookie}`),
        'X-A: b',
        '',
        '',
      ];
      const bytes = Buffer.from(lines.join('\r\n'), 'latin1');
      const head = new ResponseHead();
      assert.equal(parseResponseHead(bytes, 0, bytes.length, 'GET', head), bytes.length);
      const facts = factsOf(request);
      facts.stickyIsAmbiguous = request.ambiguous ?? false;
      return stickiness.linesFor(facts, first(), head, bytes);
    },
  };
}

const mine = cookieValue('shop-1');
const given = (user: string, attributes = 'Path=/; HttpOnly; SameSite=Lax') =>
  `Set-Cookie: h=${mine}.${user}; ${attributes}\r\n`;
const gone = 'Set-Cookie: h=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax\r\n';

test('a newcomer gets a cookie that names the instance and the user, and is then left alone', () => {
  const { added, first } = openCounter(byCookie);
  assert.equal(added(), given('u1'));
  assert.equal(added({ sticky: `${mine}.u1` }), '');
  assert.equal(added(), given('u2'));
  assert.equal(first().assigned, 2);
  assert.equal(first().traffic().users, 1, 'who came but once is not counted');
});

test('the cookie is out of reach of scripts and other sites, and Secure where the user came by https', () => {
  const attributes = (sticky: object, secure = false) => {
    const { added } = openCounter({ sticky: { ...byCookie.sticky, ...sticky } });
    return added({ secure }).replace(/^[^;]*; |\r\n$/g, '');
  };
  assert.equal(attributes({}, true), 'Path=/; HttpOnly; SameSite=Lax; Secure');
  assert.equal(attributes({ maxAgeMs: 90_500 }), 'Path=/; Max-Age=90; HttpOnly; SameSite=Lax');
  assert.equal(attributes({ sameSite: 'strict' }), 'Path=/; HttpOnly; SameSite=Strict');
  assert.equal(attributes({ sameSite: 'none' }, true), 'Path=/; HttpOnly; SameSite=None; Secure');
});

test('a user who was moved keeps the own number; a cookie that names nobody, or came twice, is written anew', () => {
  const { added } = openCounter(byCookie);
  assert.equal(added({ sticky: `${cookieValue('shop-2')}.ada` }), given('ada'));
  assert.equal(added({ sticky: `${cookieValue('shop-9')}.ada` }), given('u1'));
  assert.equal(added({ sticky: 'made up' }), given('u2'));
  assert.equal(added({ sticky: mine }), given('u3'), 'an older cookie without a user');
  assert.equal(added({ sticky: `${mine}.ada`, ambiguous: true }), given('u4'));
});

test('who logs out belongs nowhere any more', () => {
  const { added, first } = openCounter(byCookie);
  const request = { sticky: `${mine}.ada` };
  added(request);
  assert.equal(first().traffic().users, 1);
  const farewells = ['SESSION=; Path=/', 'SESSION=""', 'SESSION=x; max-age=0', 'SESSION=x; Max-Age=-1'];
  const past = 'SESSION=x; Path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT';
  for (const farewell of [...farewells, past])
    assert.equal(added(request, 'other=1', farewell), gone, farewell);
  assert.equal(first().traffic().users, 0);
  assert.equal(added({}, 'SESSION=; Path=/'), '', 'there is nothing to take away');
});

test('other cookies of the application, and a session that is renewed, change nothing', () => {
  const { added } = openCounter(byCookie);
  const request = { sticky: `${mine}.ada` };
  const harmless = [
    'other=; Max-Age=0',
    'SESSIONS=; Max-Age=0',
    'SESSION=abc; Path=/; Max-Age=3600',
    'SESSION=abc; Expires=Fri, 01 Jan 2100 00:00:00 GMT',
  ];
  for (const cookie of harmless) assert.equal(added(request, cookie), '', cookie);
  assert.equal(added(request, 'SESSION=; Max-Age=0', 'SESSION=new'), '', 'ended and begun anew');
});

test('a session whose value ends in an equals sign, as Base64 does, is a session', () => {
  const { added } = openCounter(byCookie);
  const request = { sticky: `${mine}.ada` };
  assert.equal(added(request, 'SESSION=c2Vzc2lvbg==; Path=/; HttpOnly'), '');
  assert.equal(added(request, 'SESSION=YWI=; Path=/'), '');
  assert.equal(openCounter(byApplication).added({}, 'SESSION=YWI=; Path=/'), given('u1'));
});

test("with the application's own cookie a user belongs somewhere from the moment it is given", () => {
  const { added } = openCounter(byApplication);
  assert.equal(added(), '', 'no session, no cookie of ours');
  assert.equal(added({}, 'other=1'), '');
  assert.equal(added({}, 'SESSION=abc; Path=/'), given('u1'));
  const session = { sticky: `${mine}.u1`, lines: ['Cookie: a=b; SESSION=abc'] };
  assert.equal(added(session), '');
  assert.equal(
    added({ ...session, sticky: `${cookieValue('shop-2')}.ada` }),
    given('ada'),
    'moved with the session',
  );
  assert.equal(added({ lines: ['Cookie: SESSION=abc'] }), given('u2'), 'a session without a cookie of ours');
  assert.equal(added({ lines: ['Cookie: XSESSION=abc; a=SESSION=b'] }), '');
  assert.equal(added(session, 'SESSION=; Max-Age=0'), gone);
});

test('where users stick by something else nothing is added and no cookie is taken', () => {
  for (const sticky of [{ kind: 'header', header: 'X-Tenant' }, { kind: 'address' }] as const) {
    const { added, stickiness, first } = openCounter({ sticky });
    assert.equal(stickiness.cookieName, undefined);
    assert.equal(added({ sticky: 'x' }, 'SESSION=abc'), '');
    assert.equal(first().traffic().users, null);
  }
});

test('a newcomer of an instance that drains before the second request is one of its users', () => {
  const { added, apply, chosen } = openCounter(byCookie);
  added();
  apply(viewOf('shop-1', { state: 'draining' }), viewOf('shop-2'));
  assert.equal(chosen({ sticky: `${mine}.u1` }), 'shop-1');
  assert.equal(chosen({ sticky: `${mine}.u2` }), 'shop-2');
});

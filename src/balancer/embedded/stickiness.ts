import { type ResponseHead, responseFields } from '../http1/response-head.ts';
import type { EngineSettings } from '../options.ts';
import type { Backend } from './backend.ts';
import type { LoopClock } from './loop-clock.ts';
import type { RequestFacts } from './request-facts.ts';
import type { Roster } from './roster.ts';

/**
 * The cookie that ties a user to an instance: `VALUE.USER`. The value is a keyed hash of the instance's name, the same
 * on every balancer; the user is a random number, so that a draining instance's users can be counted. Both concern the
 * balancer and the browser alone. A cookie that names nobody, or somebody who is gone, is written anew.
 *
 * With the application's own cookie (`kind: application`) a user belongs somewhere only while there is a session: whoever
 * is given the session cookie gets ours beside it, from whichever instance gave it, and loses both together.
 */
export class Stickiness {
  readonly #settings: EngineSettings;
  readonly #roster: Roster;
  readonly #clock: LoopClock;
  readonly #newUser: () => string;
  readonly #session: string | undefined;
  /** The cookie that is taken out of requests; undefined where users stick by something else. */
  readonly cookieName: string | undefined;

  constructor(settings: EngineSettings, roster: Roster, clock: LoopClock, newUser: () => string) {
    this.#settings = settings;
    this.#clock = clock;
    this.#roster = roster;
    this.#newUser = newUser;
    const { sticky } = settings;
    const hasCookie = sticky.kind === 'cookie' || sticky.kind === 'application';
    this.cookieName = hasCookie ? sticky.cookie : undefined;
    this.#session = hasCookie ? sticky.session : undefined;
  }

  /** The header lines for the response of this instance to this request: a Set-Cookie, or nothing. */
  linesFor(facts: RequestFacts, backend: Backend, head: ResponseHead, bytes: Buffer): string {
    if (this.cookieName === undefined) return '';
    const session =
      head.setsCookies && this.#session !== undefined ? sessionIn(head, bytes, this.#session) : 'same';
    const owner = this.#roster.ownerOf(facts);
    const { user } = facts;
    if (session === 'deleted') {
      backend.census.forget(user);
      return facts.sticky === '' ? '' : this.#line('', facts.secure, 0);
    }
    if (this.#settings.sticky.kind === 'application' && session !== 'given' && !this.#hasSession(facts))
      return '';
    const belongsHere = user !== '' && !facts.stickyIsAmbiguous && owner === backend;
    const { nowMs } = this.#clock;
    if (belongsHere) {
      backend.census.note(user, nowMs);
      return '';
    }
    const newcomer = user === '' || facts.stickyIsAmbiguous ? this.#newUser() : user;
    backend.assigned++;
    backend.census.greet(newcomer, nowMs);
    return this.#line(`${backend.view.cookieValue}.${newcomer}`, facts.secure, undefined);
  }

  #hasSession(facts: RequestFacts): boolean {
    const cookies = this.#session === undefined ? undefined : facts.header('cookie');
    return cookies?.split(';').some((pair) => pair.trim().startsWith(`${this.#session}=`)) === true;
  }

  #line(value: string, secure: boolean, maxAgeS: number | undefined): string {
    const { sticky } = this.#settings;
    if (sticky.kind !== 'cookie' && sticky.kind !== 'application') return '';
    const configured = sticky.kind === 'cookie' ? sticky.maxAgeMs : undefined;
    const ageS = maxAgeS ?? (configured === undefined ? undefined : Math.floor(configured / 1_000));
    const age = ageS === undefined ? '' : `; Max-Age=${ageS}`;
    const site = { lax: 'Lax', strict: 'Strict', none: 'None' }[sticky.sameSite ?? 'lax'];
    return `Set-Cookie: ${sticky.cookie}=${value}; Path=/${age}; HttpOnly; SameSite=${site}${secure ? '; Secure' : ''}\r\n`;
  }
}

/** What a response does with the session: it gives one, ends it, or leaves it as it was. */
function sessionIn(head: ResponseHead, bytes: Buffer, name: string): 'given' | 'deleted' | 'same' {
  const { fields } = head;
  let found: 'given' | 'deleted' | 'same' = 'same';
  for (let index = 0; index < fields.count; index++) {
    if (fields.kind(index) !== responseFields.setCookie) continue;
    const cookie = bytes.toString('latin1', fields.valueStart(index), fields.valueEnd(index));
    if (!cookie.startsWith(`${name}=`)) continue;
    found = isDeletion(cookie) ? 'deleted' : 'given';
  }
  return found;
}

function isDeletion(cookie: string): boolean {
  const [pair = '', ...attributes] = cookie.split(';');
  if (/^[^=]*=\s*("")?$/.test(pair.trim())) return true;
  return attributes.some((attribute) => {
    const [key = '', value = ''] = attribute.split('=').map((part) => part.trim());
    if (key.toLowerCase() === 'max-age') return /^-?\d+$/.test(value) && Number(value) <= 0;
    return key.toLowerCase() === 'expires' && /\b(19\d\d|200\d)\b/.test(value);
  });
}

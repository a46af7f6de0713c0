import type { StickyOptions } from '../engine.ts';
import { bucketCount, type ServerKind, serverName } from './config-names.ts';
import { escapeRegex, lines, quoted, randomHex } from './config-text.ts';
import type { PlaceFiles } from './place.ts';

/**
 * Who belongs where. HAProxy has cookies of its own for this, but their values stand in the configuration, or are made
 * from a key and the address of a server; neither can be what all our balancers agree on, a keyed hash of a name that
 * comes with the routing table. So the values live in maps that are filled at run time: `owners.map` tells the slot of
 * a cookie's value, `cookies.map` the value of a slot, and `use-server` takes the slot's server. The names of instances
 * stand nowhere.
 *
 * Behind the value the cookie has a random number, the user. A table remembers who of them was here lately, so that
 * only those come to an instance that drains, and so that they can be counted.
 *
 * Where users stick by a header or their address, the value falls into one of many buckets, and `buckets.map` lists
 * the slots that a bucket prefers, computed by rendezvous over the instances' names: every balancer finds the same.
 */
export const usersTable = 'users';

const hasCookie = (
  sticky: StickyOptions,
): sticky is Extract<StickyOptions, { kind: 'cookie' | 'application' }> =>
  sticky.kind === 'cookie' || sticky.kind === 'application';

/** Sets `txn.slot` (or `txn.order`) from the request, and takes our cookie out of it. */
export function stickyRequestRules(sticky: StickyOptions, files: PlaceFiles): string {
  if (!hasCookie(sticky)) {
    const key = sticky.kind === 'address' ? 'var(txn.client)' : `req.fhdr(${sticky.header})`;
    return `http-request set-var(txn.order) ${key},crc32(1),mod(${bucketCount}),map(${files.buckets})`;
  }
  const { cookie, session } = sticky;
  const name = escapeRegex(cookie);
  const isSent = `{ req.fhdr(cookie) -m sub -- ${quoted(`${cookie}=`)} }`;
  return lines(
    `http-request set-var(txn.sticky) ${cookieNamed(cookie)} if ${isSent}`,
    `http-request set-var(txn.slot) var(txn.sticky),field(1,.),map(${files.owners}) if { var(txn.sticky) -m found }`,
    'http-request set-var(txn.user) var(txn.sticky),field(2,.) if { var(txn.slot) -m found }',
    `http-request unset-var(txn.user) unless { var(txn.user) -m reg '^[0-9A-Za-z_-]{4,32}$' }`,
    // Whoever was not here for a while does not keep an instance from going.
    `http-request unset-var(txn.slot) if { var(txn.slot),map(${files.flags}) -m str drain } { var(txn.user) -m found } !{ var(txn.user),in_table(${usersTable}) }`,
    'http-request set-var(txn.known) bool(true) if { var(txn.user) -m found }',
    `http-request set-var-fmt(txn.user) "${randomHex(16)}" unless { var(txn.user) -m found }`,
    session !== undefined &&
      `http-request set-var(txn.session) bool(true) if { ${cookieNamed(session)} -m found }`,
    `http-request track-sc1 var(txn.user) table ${usersTable}${sticky.kind === 'application' ? ' if { var(txn.session) -m found }' : ''}`,
    ...[1, 2].map(
      () =>
        `http-request replace-header Cookie ${quoted(`^(.*;[[:space:]]*)?${name}=[^;]*;?[[:space:]]*(.*)$`)} '\\1\\2' if ${isSent}`,
    ),
    `http-request replace-header Cookie '^(.*);[[:space:]]*$' '\\1' if { var(txn.sticky) -m found }`,
    'http-request del-header Cookie if { req.fhdr_cnt(cookie) eq 1 } { req.fhdr(cookie) -m len 0 }',
  );
}

/** No name of a cookie has a double quote or a backslash in it. */
const cookieNamed = (name: string): string => quoted(`req.cook("${name}")`);

/** In a backend: the server of the user's slot, if it is up. */
export function useServerRules(sticky: StickyOptions, kind: ServerKind): string {
  const letter = serverName(kind, 0).slice(0, 1);
  if (hasCookie(sticky)) return `use-server ${letter}%[var(txn.slot)] if { var(txn.slot) -m found }`;
  return [1, 2, 3]
    .map(
      (place) =>
        `use-server ${letter}%[var(txn.order),field(${place},:)] if { var(txn.order),field(${place},:) -m found }`,
    )
    .join('\n');
}

/** Ties the user to the instance that answered, where it is another one than before. */
export function stickyResponseRules(sticky: StickyOptions, files: PlaceFiles): string {
  if (!hasCookie(sticky)) return '';
  const { cookie, session, sameSite } = sticky;
  const ageMs = sticky.kind === 'cookie' ? sticky.maxAgeMs : undefined;
  const site = { lax: 'Lax', strict: 'Strict', none: 'None' }[sameSite ?? 'lax'];
  const setCookie = (value: string, age: string) => {
    const attributes = `Path=/${age}; HttpOnly; SameSite=${site}`;
    const line = `${formatText(cookie)}=${value}; ${attributes}`;
    return (condition: string) =>
      lines(
        `http-response add-header Set-Cookie "${line}" if ${condition} !{ var(txn.proto) -m str https }`,
        `http-response add-header Set-Cookie "${line}; Secure" if ${condition} { var(txn.proto) -m str https }`,
      );
  };
  const given = setCookie(
    `%[var(txn.served),map(${files.cookies})].%[var(txn.user)]`,
    ageMs === undefined ? '' : `; Max-Age=${Math.floor(ageMs / 1_000)}`,
  );
  const isHome = '{ var(txn.served),strcmp(txn.slot) eq 0 } { var(txn.known) -m found }';
  const sessionRules = session === undefined ? '' : sessionResponseRules(session);
  const isDeleted = '{ var(txn.logout) -m found }';
  return lines(
    sessionRules,
    `http-response set-var(txn.home) bool(true) if ${isHome}`,
    session !== undefined && setCookie('', '; Max-Age=0')(`${isDeleted} { var(txn.sticky) -m found }`),
    sticky.kind === 'application'
      ? given(`!{ var(txn.home) -m found } !${isDeleted} { var(txn.session) -m found }`)
      : given(`!{ var(txn.home) -m found }${session === undefined ? '' : ` !${isDeleted}`}`),
  );
}

/** Does the response give a session, or end it? The last Set-Cookie of that name counts. */
function sessionResponseRules(session: string): string {
  const name = escapeRegex(session);
  const sets = `{ res.fhdr(set-cookie) -m reg ${quoted(`^${name}=`)} }`;
  const ends = quoted(
    `^${name}=(("")?[[:space:]]*(;|$)|[^;]*;(.*;)?[[:space:]]*([Mm][Aa][Xx]-[Aa][Gg][Ee][[:space:]]*=[[:space:]]*(0|-)|[Ee][Xx][Pp][Ii][Rr][Ee][Ss][[:space:]]*=.*[^0-9](19[0-9][0-9]|200[0-9])[^0-9]))`,
  );
  return lines(
    `http-response set-var(txn.session) bool(true) if ${sets}`,
    `http-response set-var(txn.logout) bool(true) if { res.fhdr(set-cookie) -m reg ${ends} }`,
  );
}

/** Within a log format in double quotes. */
const formatText = (text: string): string => text.replace(/[\\"$]/g, '\\$&').replaceAll('%', '%%');

/** What the entry knows of a user, told to the frontend for requests that must not be repeated. */
const seat = ['slot', 'order', 'user', 'known', 'session', 'sticky'] as const;

export const seatHeaderRules = lines(
  ...seat.map(
    (fact) =>
      `http-request set-header holdfast-seat-${fact} %[var(txn.${fact})] if { var(txn.${fact}) -m found }`,
  ),
);

export const seatRules = lines(
  ...seat.map(
    (fact) =>
      `http-request set-var(txn.${fact}) req.fhdr(holdfast-seat-${fact}) if { req.fhdr(holdfast-seat-${fact}) -m found }`,
  ),
);

import { BlockList, isIP, isIPv6 } from 'node:net';

/**
 * Who the client is, told to the application in headers that it can believe. Applications decide by these headers
 * who may see an admin page and whether a cookie may travel; so what an unknown client writes into them is dropped,
 * and the balancer writes them anew from what it knows itself. Only a proxy on the list of trusted ones is believed,
 * and of a chain only the part that trusted proxies wrote: from the right, up to the first address that is not one.
 */
export type HeaderList = readonly string[]; // name, value, name, value … as they came

export interface TrustedProxies {
  trusts(address: string): boolean;
}

export interface ForwardedFacts {
  /** The address at the other end of the client's connection. */
  readonly peerAddress: string;
  /** Did the client's connection to this balancer use TLS? */
  readonly encrypted: boolean;
  /** The Host that the request is for; undefined where an old client sent none. */
  readonly host: string | undefined;
  readonly trusted: TrustedProxies;
}

export interface ForwardedResult {
  /** The request's headers without anything that concerns one connection only or claims to be from a proxy. */
  readonly passed: string[];
  /** The headers that the balancer vouches for. */
  readonly added: string[];
  readonly clientAddress: string;
  readonly protocol: 'http' | 'https';
}

/** Headers of one connection (RFC 9110, section 7.6.1): they end at each hop. */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Headers beside `X-Forwarded-*` in which some proxy tells an application about its client. */
export const claimNames: readonly string[] = [
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-original-forwarded-for',
  'x-original-host',
  'x-remote-addr',
  'x-remote-ip',
  'x-scheme',
  'x-url-scheme',
  'front-end-https',
  'true-client-ip',
  'cf-connecting-ip',
  'fastly-client-ip',
  'proxy', // CGI programs see it as HTTP_PROXY
];
const claims: ReadonlySet<string> = new Set(claimNames);

/** Never removed because a Connection header names them: they are about the message, not the connection. */
const endToEnd: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'cookie',
  'set-cookie',
  'authorization',
]);

/** The headers without those of one connection. What `Connection` names goes as well. */
export function withoutHopByHop(headers: HeaderList): string[] {
  const named = new Set<string>();
  for (const [name, value] of pairs(headers)) {
    if (name.toLowerCase() !== 'connection') continue;
    for (const option of value.split(',')) named.add(option.trim().toLowerCase());
  }
  return filterHeaders(headers, (name) => !hopByHop.has(name) && (!named.has(name) || endToEnd.has(name)));
}

/** What goes to the instance in place of the headers that the client sent. */
export function forwardHeaders(headers: HeaderList, facts: ForwardedFacts): ForwardedResult {
  const passed = filterHeaders(withoutHopByHop(headers), (name) => !isClaim(name));
  const peer = plainAddress(facts.peerAddress) ?? facts.peerAddress;
  const believed = facts.trusted.trusts(peer);
  const said = (name: string) => (believed ? valuesOf(headers, name) : []);

  const chain = [...trustedChain(said('x-forwarded-for'), facts.trusted), peer];
  const clientAddress = chain[0] ?? peer;
  const saidProtocol = said('x-forwarded-proto').at(-1)?.toLowerCase();
  const ownProtocol = facts.encrypted ? 'https' : 'http';
  const protocol = saidProtocol === 'http' || saidProtocol === 'https' ? saidProtocol : ownProtocol;
  const saidHost = said('x-forwarded-host').at(-1);
  const host = saidHost !== undefined && isHost(saidHost) ? saidHost : facts.host;
  const saidPort = said('x-forwarded-port').at(-1);
  const port = saidPort && /^\d{1,5}$/.test(saidPort) ? saidPort : portOf(host, protocol);

  const added = ['X-Forwarded-For', chain.join(', '), 'X-Real-IP', clientAddress];
  added.push('X-Forwarded-Proto', protocol, 'X-Forwarded-Scheme', protocol, 'X-Forwarded-Port', port);
  if (host !== undefined) added.push('X-Forwarded-Host', host);
  added.push('Forwarded', forwardedValue(chain, host, protocol));
  return { passed, added, clientAddress, protocol };
}

/** A list of addresses and CIDR blocks; the entries that are neither come back as `invalid`. */
export function parseTrustedProxies(entries: readonly string[]): {
  trusted: TrustedProxies;
  invalid: string[];
} {
  const list = new BlockList();
  const invalid: string[] = [];
  for (const entry of entries) {
    const [address = '', prefix, ...rest] = entry.trim().split('/');
    const family = isIP(address);
    const bits = prefix === undefined ? (family === 6 ? 128 : 32) : Number(prefix);
    const valid = family !== 0 && rest.length === 0 && (prefix === undefined || /^\d+$/.test(prefix));
    if (valid && bits <= (family === 6 ? 128 : 32))
      list.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4');
    else invalid.push(entry);
  }
  const trusts = (address: string) =>
    isIP(address) !== 0 && list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  return { trusted: { trusts }, invalid };
}

/** `example.com`, `example.com:8080`, `[::1]:80`: the characters of RFC 3986 and nothing that could end a header. */
export const isHost = (text: string): boolean =>
  text.length <= 255 && /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::\d{1,5})?$/.test(text);

/** The address without port, brackets, zone and IPv4-in-IPv6 prefix; undefined where it is no address. */
export function plainAddress(text: string): string | undefined {
  const bare = text.trim().replace(/^\[([^\]]*)\](?::\d+)?$/, '$1');
  const unzoned = bare.replace(/%.*$/, '');
  const v4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)(?::\d+)?$/i.exec(unzoned)?.[1];
  const address = v4 ?? unzoned;
  return isIP(address) === 0 ? undefined : address;
}

// The rightmost entry was written by the trusted peer; each one to the left is believed as long as the one that wrote
// it is trusted. Whatever stands left of the first untrusted address is that client's own invention.
function trustedChain(entries: readonly string[], trusted: TrustedProxies): string[] {
  const chain: string[] = [];
  for (const entry of entries.toReversed()) {
    const address = plainAddress(entry);
    if (address === undefined) break;
    chain.unshift(address);
    if (!trusted.trusts(address)) break;
  }
  return chain;
}

function forwardedValue(chain: readonly string[], host: string | undefined, protocol: string): string {
  const elements = chain.map((address) => `for=${isIPv6(address) ? `"[${address}]"` : address}`);
  const about = host === undefined ? `;proto=${protocol}` : `;host="${host}";proto=${protocol}`;
  return [`${elements[0]}${about}`, ...elements.slice(1)].join(', ');
}

const portOf = (host: string | undefined, protocol: 'http' | 'https'): string =>
  /:(\d{1,5})$/.exec(host ?? '')?.[1] ?? (protocol === 'https' ? '443' : '80');

// Some servers show applications `X_Forwarded_For` and `X-Forwarded-For` as the same variable.
function isClaim(lowerName: string): boolean {
  const name = lowerName.replaceAll('_', '-');
  return name.startsWith('x-forwarded-') || claims.has(name);
}

const valuesOf = (headers: HeaderList, wanted: string): string[] =>
  [...pairs(headers)]
    .filter(([name]) => name.toLowerCase() === wanted)
    .flatMap(([, value]) => value.split(',').map((part) => part.trim()))
    .filter((part) => part !== '');

function filterHeaders(headers: HeaderList, keep: (lowerName: string) => boolean): string[] {
  const kept: string[] = [];
  for (const [name, value] of pairs(headers)) if (keep(name.toLowerCase())) kept.push(name, value);
  return kept;
}

function* pairs(headers: HeaderList): Generator<[name: string, value: string]> {
  for (let i = 0; i + 1 < headers.length; i += 2) yield [headers[i] as string, headers[i + 1] as string];
}

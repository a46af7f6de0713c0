import { claimNames } from '../../protocol/forwarded.ts';
import { lines, quoted } from './config-text.ts';

/**
 * protocol/forwarded.ts in HAProxy's words: what an unknown client says about itself is dropped and written anew, and
 * of a chain of proxies only the part that trusted ones wrote is kept. HAProxy has no loops, so the chain is walked in
 * a fixed number of steps; nobody has so many trusted proxies in a row.
 */
const longestChain = 8;

/** Names in lower case, as HAProxy knows them; `-` may be written as `_`, which some servers take for the same. */
const dropped = [
  'x-forwarded-.*',
  ...claimNames,
  // No claims, but some servers would take them for what they look like.
  'transfer_encoding',
  'content_length',
  // What parts of the balancer tell each other.
  'holdfast-seat-.*',
  'holdfast-occupant',
];

/** Of one connection; Connection, Transfer-Encoding and Upgrade are HAProxy's own business. */
const hopByHop = [
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
];

/** What no instance must see of what a client wrote. */
export const droppedHeaders = `^(${[...dropped.map((name) => name.replaceAll('-', '[-_]')), ...hopByHop, 'http2-settings'].join('|')})$`;

const isHost = String.raw`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(:[0-9]{1,5})?$`;
export const hostPattern = quoted(isHost);

export interface ForwardedFacts {
  readonly encrypted: boolean;
  readonly trusted: readonly string[];
  /** Is the address listened on one of IPv6, so that IPv4 may come in its clothes? */
  readonly mapped: boolean;
}

export function forwardedRules({ encrypted, trusted, mapped }: ForwardedFacts): string {
  const nets = trusted.join(' ');
  const own = encrypted ? 'https' : 'http';
  return lines(
    `http-request set-var(txn.client) ${mapped ? 'src,regsub(^::ffff:,,i)' : 'src'}`,
    'http-request set-var-fmt(txn.chain) "%[var(txn.client)]"',
    `http-request set-var(txn.proto) str(${own})`,
    'http-request set-var(txn.host) req.fhdr(host)',
    trusted.length > 0 && believed(nets),
    // Behind the client's own address come those of the proxies, each as an element of its own.
    trusted.length === 0 && elementRule('txn.client', 'txn.element'),
    'http-request set-var(txn.port) var(txn.host),port_only if { var(txn.host),port_only gt 0 }',
    'http-request set-var(txn.port) str(443) if !{ var(txn.port) -m found } { var(txn.proto) -m str https }',
    'http-request set-var(txn.port) str(80) if !{ var(txn.port) -m found }',
    `http-request del-header ${quoted(droppedHeaders)} -m reg`,
    'http-request set-header X-Forwarded-For %[var(txn.chain)]',
    'http-request set-header X-Real-IP %[var(txn.client)]',
    'http-request set-header X-Forwarded-Proto %[var(txn.proto)]',
    'http-request set-header X-Forwarded-Scheme %[var(txn.proto)]',
    'http-request set-header X-Forwarded-Port %[var(txn.port)]',
    'http-request set-header X-Forwarded-Host %[var(txn.host)] if { var(txn.host) -m found }',
    'http-request set-header Forwarded "for=%[var(txn.element)];host=\\"%[var(txn.host)]\\";proto=%[var(txn.proto)]%[var(txn.proxies)]" if { var(txn.host) -m found }',
    'http-request set-header Forwarded "for=%[var(txn.element)];proto=%[var(txn.proto)]%[var(txn.proxies)]" unless { var(txn.host) -m found }',
  );
}

/** IPv6 wants brackets and quotes in an element of Forwarded. */
const elementRule = (from: string, to: string): string =>
  lines(
    `http-request set-var-fmt(${to}) "%[var(${from})]"`,
    `http-request set-var-fmt(${to}) "\\"[%[var(${from})]]\\"" if { var(${from}) -m sub : }`,
  );

function believed(nets: string): string {
  const steps = Array.from({ length: longestChain }, (_, index) => chainStep(index + 1, nets));
  return lines(
    `http-request set-var(txn.trusted) bool(true) if { src ${nets} }`,
    elementRule('txn.client', 'txn.element'),
    ...steps,
    'http-request set-var(txn.said) req.hdr(x-forwarded-proto,-1),lower if { var(txn.trusted) -m found }',
    'http-request set-var(txn.proto) var(txn.said) if { var(txn.said) -m str http https }',
    'http-request set-var(txn.saidhost) req.hdr(x-forwarded-host,-1) if { var(txn.trusted) -m found }',
    `http-request set-var(txn.host) var(txn.saidhost) if { var(txn.saidhost) -m reg ${hostPattern} }`,
    'http-request set-var(txn.saidport) req.hdr(x-forwarded-port,-1) if { var(txn.trusted) -m found }',
    "http-request set-var(txn.port) var(txn.saidport) if { var(txn.saidport) -m reg '^[0-9]{1,5}$' }",
  );
}

/** One more address from the right: believed if whoever wrote it is trusted, and then it is the client. */
function chainStep(step: number, nets: string): string {
  const hop = `txn.hop${step}`;
  const isWriterTrusted =
    step === 1 ? '{ var(txn.trusted) -m found }' : `{ var(txn.hop${step - 1}) -m ip ${nets} }`;
  const isThere = `if { var(${hop}) -m found }`;
  return lines(
    `http-request set-var(${hop}) req.hdr_ip(x-forwarded-for,-${step}) if ${isWriterTrusted}`,
    `http-request set-var-fmt(txn.proxies) ", for=%[var(txn.element)]%[var(txn.proxies)]" ${isThere}`,
    `http-request set-var-fmt(txn.client) "%[var(${hop})]" ${isThere}`,
    `http-request set-var-fmt(txn.chain) "%[var(${hop})], %[var(txn.chain)]" ${isThere}`,
    `http-request set-var-fmt(txn.element) "%[var(${hop})]" ${isThere}`,
    `http-request set-var-fmt(txn.element) "\\"[%[var(${hop})]]\\"" ${isThere} { var(${hop}) -m sub : }`,
  );
}

/**
 * Where a peer may differ from us, and why that is no danger. Each entry is as narrow as it can be: one peer, one
 * rule, and what the request must look like.
 */
import { METHODS } from 'node:http';
import type { Disagreement, Outcome, Rule } from './fuzz-comparison.ts';
import type { Message } from './fuzz-recording.ts';
import type { PeerName } from './fuzz-targets.ts';

export interface KnownDifference {
  readonly name: string;
  readonly peers: readonly PeerName[];
  readonly rules: readonly Rule[];
  applies(facts: Facts): boolean;
}

interface Facts {
  readonly sent: string;
  /** What we passed on where we disagree, or the beginning of it. */
  readonly own: Message | undefined;
  /** With which they refused it, else 0. */
  readonly status: number;
}

export const knownDifferences: readonly KnownDifference[] = [
  {
    // Node's parser has a list of methods; a method that it does not know is a syntax error to it. The name of a
    // method is a token (RFC 9110, section 9.1), and which ones there are is for the application to say.
    name: 'Node knows only the methods of its list',
    peers: ['node'],
    rules: ['accepted what is refused', 'began what is refused'],
    applies: ({ own }) => own !== undefined && !METHODS.includes(own.method),
  },
  {
    // Whoever asks for an upgrade is answered, and Node then reads no further request from this connection. We go
    // on, as RFC 9110, section 7.8 has it. Nothing is read differently: Node reads nothing.
    name: 'Node reads nothing behind a request that asks for an upgrade',
    peers: ['node'],
    rules: ['ended too early'],
    applies: ({ sent }) => /^upgrade[ \t]*:/im.test(sent),
  },
  {
    // Who asks for a WebSocket without a key gets no WebSocket, from whichever application; it is not a question of
    // where the request ends.
    name: 'HAProxy wants the key of a WebSocket',
    peers: ['haproxy'],
    rules: ['accepted what is refused'],
    applies: ({ sent }) => /^upgrade:.*websocket/im.test(sent) && !/^sec-websocket-key:/im.test(sent),
  },
  {
    // nginx takes letters of upper case, underscores and hyphens only; see above.
    name: 'nginx wants methods in upper case',
    peers: ['nginx'],
    rules: ['accepted what is refused', 'began what is refused'],
    applies: ({ own }) => own !== undefined && !/^[A-Z_-]+$/.test(own.method),
  },
  {
    // nginx unescapes and normalises the path, because it serves files. What a path means is for the application to
    // say; we pass it on as it came, byte for byte.
    name: 'nginx refuses paths that climb too high or are not well escaped',
    peers: ['nginx'],
    rules: ['accepted what is refused'],
    applies: ({ own }) => own !== undefined && /%(?![0-9A-Fa-f]{2})|%00|\/\.\.(?:\/|$)/.test(own.target),
  },
  {
    // Our own policy would be another; the application decides on TRACE as on every method.
    name: 'nginx serves no TRACE',
    peers: ['nginx'],
    rules: ['accepted what is refused'],
    applies: ({ own, status }) => own?.method === 'TRACE' && status === 405,
  },
  {
    // nginx looks for a file, and there is none of this name.
    name: 'nginx knows no OPTIONS *',
    peers: ['nginx'],
    rules: ['accepted what is refused'],
    applies: ({ own }) => own?.method === 'OPTIONS' && own.target === '*',
  },
  {
    // HTTP/1.0 knows no Host, but HTTP/1.1, which we speak to the instances, demands one. It is ours then.
    name: 'a client of HTTP/1.0 that names no host',
    peers: ['node', 'haproxy', 'nginx'],
    rules: ['host'],
    applies: ({ sent, own }) => {
      const [head = ''] = sent.trimStart().split('\r\n\r\n');
      const namesHost = /\r\nhost:[ \t]*[^ \t\r]/i.test(head);
      return / HTTP\/1\.0(?:\r\n|$)/.test(head) && !namesHost && headerOf(own, 'host') === 'localhost';
    },
  },
];

const headerOf = (message: Message | undefined, name: string): string | undefined =>
  message?.headers.find(([one]) => one.toLowerCase() === name)?.[1];

export function knownDifference(
  peer: PeerName,
  { rule, index }: Disagreement,
  facts: { readonly sent: string; readonly ours: Outcome; readonly theirs: Outcome },
): KnownDifference | undefined {
  const { sent, ours, theirs } = facts;
  const seen = { sent, own: ours.messages[index] ?? ours.partial, status: theirs.status };
  return knownDifferences.find(
    (one) => one.peers.includes(peer) && one.rules.includes(rule) && one.applies(seen),
  );
}

/** Sends bytes to a server, whatever they are, and watches what becomes of the connection. */
import { connect } from 'node:net';
import { mark } from './fuzz-recording.ts';

export interface Conversation {
  /** Answers that came from the instance behind, or from the handler of the server itself. */
  readonly answers: number;
  /**
   * `finished`: closed after an answer that said so. `refused`: the server answered itself. `closed`: without a word.
   * `waiting`: the connection stands and nothing happens; the server wants more bytes.
   */
  readonly end: 'finished' | 'refused' | 'closed' | 'waiting';
  /** Of the refusal, else 0. */
  readonly status: number;
}

export interface Sending {
  readonly port: number;
  readonly bytes: Buffer;
  readonly cuts: readonly number[];
  /** After so long without anything, the server is `waiting`. */
  readonly quietMs: number;
}

const marked = new RegExp(`^${mark}:`, 'im');
const says = /^connection:.*\bclose\b/im;

export function converse({ port, bytes, cuts, quietMs }: Sending): Promise<Conversation> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let received = '';
    let answers = 0;
    let saidClose = false;
    let isOver = false;
    const end = (how: Conversation['end'], status = 0) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(quiet);
      socket.resetAndDestroy(); // a port that lingers is one less for the next two hundred thousand
      resolve({ answers, end: how, status });
    };
    let heard = 0;
    // What has arrived in the meantime, if this process was busy, is read before the verdict.
    const quiet = setTimeout(() => {
      const before = heard;
      setImmediate(() => setImmediate(() => (heard === before ? end('waiting') : quiet.refresh())));
    }, quietMs);
    socket.once('connect', () => send(0));
    const send = (piece: number) => {
      if (socket.destroyed) return;
      socket.write(bytes.subarray(cuts[piece - 1] ?? 0, cuts[piece]));
      quiet.refresh();
      if (piece < cuts.length) setImmediate(send, piece + 1);
    };
    socket.on('data', (chunk: Buffer) => {
      heard++;
      quiet.refresh();
      received += chunk.toString('latin1');
      for (;;) {
        const headEnd = received.indexOf('\r\n\r\n');
        if (headEnd < 0) return;
        const head = received.slice(0, headEnd);
        received = received.slice(headEnd + 4); // what carries the mark has no body
        const status = Number(head.slice(9, 12));
        if (status >= 100 && status < 200) continue;
        if (!marked.test(head)) return end('refused', status);
        answers++;
        saidClose = says.test(head);
      }
    });
    socket.on('end', () => end(saidClose ? 'finished' : 'closed'));
    socket.on('close', () => end(saidClose ? 'finished' : 'closed'));
    socket.on('error', () => undefined); // 'close' follows
  });
}

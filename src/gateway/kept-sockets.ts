/**
 * Listening sockets that outlive the balancer process which opened them. A keeper (cli/balancer-keeper.ts) starts
 * balancers one after the other and holds their sockets: it gives them to each new one before that begins, and gets
 * those that the new one opened. So the port is never closed: what the kernel has queued for an old process, or for one
 * that crashed, is served by the next. Sockets that a new one has no use for, because it listens elsewhere or with fewer
 * processes, are closed: the kernel would go on to queue clients for them.
 */
import type { SocketShelf } from '../balancer/engine.ts';

/** What a keeper says to a balancer. */
export type ToBalancer =
  /** With a socket beside it. */
  | { readonly kind: 'socket'; readonly name: string }
  /** These were all: begin. */
  | { readonly kind: 'begin' }
  /** Another one serves: finish what is under way, and end. */
  | { readonly kind: 'finish' };

export type FromBalancer =
  /** `keep`: with a socket beside it. */
  | { readonly kind: 'keep'; readonly name: string }
  | { readonly kind: 'drop'; readonly name: string }
  | { readonly kind: 'serving' };

export interface KeptSocket {
  close(): void;
}

export interface KeptSockets {
  readonly shelf: SocketShelf;
  /** This balancer carries traffic: an older one may finish, and what was not taken is closed. */
  serving(): void;
  /** Aborted when another one serves. */
  readonly finish: AbortSignal;
}

/** Resolves when every kept socket is here; undefined where this process has no keeper. */
export async function receiveKeptSockets(keeper: NodeJS.Process = process): Promise<KeptSockets | undefined> {
  if (keeper.send === undefined) return undefined;
  const sockets = new Map<string, KeptSocket>();
  const unclaimed = new Set<string>();
  const finish = new AbortController();
  const tell = (message: FromBalancer, socket?: object) => keeper.send?.(message, socket as never);
  await new Promise<void>((begin) => {
    keeper.on('message', (message: ToBalancer, socket: KeptSocket | undefined) => {
      if (message.kind === 'socket' && socket) {
        sockets.set(message.name, socket);
        unclaimed.add(message.name);
      } else if (message.kind === 'begin') begin();
      else if (message.kind === 'finish') finish.abort();
    });
  });
  // The line to the keeper is no reason to live on, and its end is one to stop: nobody would start a successor.
  keeper.channel?.unref();
  keeper.once('disconnect', () => keeper.kill(keeper.pid, 'SIGTERM'));
  return {
    shelf: {
      take(name) {
        unclaimed.delete(name);
        return sockets.get(name);
      },
      keep(name, socket) {
        if (sockets.get(name) === socket) return;
        sockets.set(name, socket as KeptSocket);
        tell({ kind: 'keep', name }, socket);
      },
    },
    serving() {
      for (const name of unclaimed) {
        sockets.get(name)?.close();
        sockets.delete(name);
        tell({ kind: 'drop', name });
      }
      unclaimed.clear();
      tell({ kind: 'serving' });
    },
    finish: finish.signal,
  };
}

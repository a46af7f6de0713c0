import net from 'node:net';

/** One command on a connection of its own; resolves with everything that came back. The master waits for `quit`. */
export function askOnce(path: string, command: string, limitMs = 2_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path, () => socket.write(`${command}\nquit\n`));
    let received = '';
    socket.setEncoding('utf8');
    socket.setTimeout(limitMs, () => socket.destroy(new Error(`no answer to "${command}" at ${path}`)));
    socket.on('data', (text) => {
      received += text;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
  });
}

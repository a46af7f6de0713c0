import assert from 'node:assert/strict';
import net from 'node:net';
import type { EngineOptions } from '../../balancer/engine.ts';
import { HoldfastError } from '../../support/errors.ts';
import type { Suite } from './suite.ts';

const listen = { host: '127.0.0.1', port: 0 };

const wrong: readonly { readonly what: string; readonly options: Partial<EngineOptions>; named: RegExp }[] = [
  {
    what: 'a trusted proxy that is no address',
    options: { trustedProxies: ['10.0.0.0/8', 'proxy.example'] },
    named: /"proxy\.example"/,
  },
  {
    what: 'a network of PROXY senders that is none',
    options: { proxyProtocol: { from: ['10.0.0.0/64'] } },
    named: /10\.0\.0\.0\/64/,
  },
  {
    what: 'a sticky cookie with a space in its name',
    options: { sticky: { kind: 'cookie', cookie: 'my cookie' } },
    named: /my cookie/,
  },
  {
    what: 'a sticky header with a colon in its name',
    options: { sticky: { kind: 'header', header: 'X-Tenant:' } },
    named: /X-Tenant:/,
  },
  {
    what: 'a denied path that is no regular expression',
    options: { deny: ['^/admin', '^/('] },
    named: /deny\[1\]/,
  },
];

/** An engine that cannot do what it is asked says so when it is started, and names the place. */
export function optionsTests({ start, test }: Suite): void {
  test('P10: a listening address that is taken is refused with what to do', async (t) => {
    const taken = net.createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    t.after(() => taken.close());
    const { port } = taken.address() as net.AddressInfo;
    await assert.rejects(start({ listen: { host: '127.0.0.1', port } }), (error) => {
      return (
        error instanceof HoldfastError &&
        error.code === 'LISTEN_FAILED' &&
        error.message.includes(String(port))
      );
    });
  });

  for (const { what, options, named } of wrong) {
    test(`P10: ${what} is refused and named`, async (t) => {
      const started = start({ listen, ...options });
      t.after(async () => (await started.catch(() => undefined))?.close({ graceMs: 0 }));
      await assert.rejects(started, (error) => {
        return (
          error instanceof HoldfastError &&
          error.code === 'CONFIGURATION_INVALID' &&
          named.test(error.message)
        );
      });
    });
  }
}

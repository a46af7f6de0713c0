/**
 * The `external` platform: somebody else starts and stops the application; Holdfast only watches it at its URL.
 * `start` begins to watch and `stop` ceases to; the application notices neither. There is no death to be seen
 * here: an external instance that is gone is one that does not answer.
 */
import { HoldfastError } from '../support/errors.ts';
import type { Address, ExitReason, Platform } from './platform.ts';

const watchedNoMore: ExitReason = { code: null, signal: null, description: 'is watched no more' };

export function externalPlatform(options: { url: string }): Platform {
  const address = addressOf(options.url);
  return {
    async start() {
      const { promise: exited, resolve } = Promise.withResolvers<ExitReason>();
      const cease = (): void => resolve(watchedNoMore);
      return {
        pid: undefined,
        address,
        exited,
        stop: async () => {
          cease();
          return exited;
        },
        kill: cease,
      };
    },
  };
}

/** Where the instance is: `http` alone, for agents and balancers speak plain HTTP to an instance. */
function addressOf(text: string): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' || url.hostname === '') {
    // The text itself stays out of the message: a URL may carry a password.
    throw new HoldfastError(
      'CONFIGURATION_INVALID',
      'The address of an external instance is no http:// URL.',
      {
        remedy: 'Write it as `http://host:port`.',
      },
    );
  }
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 80 : Number(url.port),
  };
}

/**
 * One instance of the shop. What differs between instances, and what they share, is in the environment, put there
 * by the agent that starts it:
 *
 *   PORT               where to listen, on this machine only: the balancer is what faces the users
 *   HOLDFAST_INSTANCE  its name
 *   HOLDFAST_DATABASE  the database of sessions, which the shop uses for its own tables as well
 *   HOLDFAST_SESSIONS  lifetimes of sessions (read by the session store)
 *   HOLDFAST_FILES     the directory that all instances share
 *   HOLDFAST_AGENT_*   where its agent answers (read by the scheduled events)
 *
 * and by the `environment:` of holdfast.yaml: SHOP_SECRET, SHOP_TRUSTED_PROXIES, LOG_LEVEL.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openShop, type ShopOptions } from './shop.ts';

/** Good for trying it out. Anybody can read it here, so a shop that others can reach sets SHOP_SECRET. */
const developmentSecret = 'a secret that everybody knows, for development';
/** Then the agent ends it anyway; this is for a shop that was started by hand. */
const finishWithinMs = 30_000;

async function main(): Promise<void> {
  const { port, options } = readEnvironment(process.env);
  const app = await openShop(options);
  if (options.secret === developmentSecret)
    app.log.info('SHOP_SECRET is not set: sessions are signed with the development secret.');

  let stopping = false;
  const stop = () => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(1), finishWithinMs).unref();
    app.close().then(
      () => process.exit(0),
      (error: unknown) => {
        app.log.error({ err: error }, 'The shop could not be closed in order.');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);

  await app.listen({ host: '127.0.0.1', port });
}

function readEnvironment(environment: NodeJS.ProcessEnv): { port: number; options: ShopOptions } {
  const port = Number(environment.PORT ?? '3000');
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new EnvironmentError('PORT must be a number up to 65535.');
  const databaseUrl = environment.HOLDFAST_DATABASE;
  if (!databaseUrl) {
    throw new EnvironmentError(
      'HOLDFAST_DATABASE is not set. Start the shop with: holdfast up -c holdfast.yaml',
    );
  }
  const secret = environment.SHOP_SECRET || developmentSecret;
  if (secret.length < 32) throw new EnvironmentError('SHOP_SECRET must have at least 32 characters.');
  const instance = environment.HOLDFAST_INSTANCE || 'shop';
  return {
    port,
    options: {
      instance,
      databaseUrl,
      filesDirectory: environment.HOLDFAST_FILES || fileURLToPath(new URL('files', import.meta.url)),
      temporaryDirectory: join(tmpdir(), 'holdfast-shop', instance),
      secret,
      trustedProxies: environment.SHOP_TRUSTED_PROXIES || 'loopback',
      logLevel: environment.LOG_LEVEL || 'info',
    },
  };
}

class EnvironmentError extends Error {}

main().catch((error: unknown) => {
  // A mistake in the environment needs no stack; anything else does.
  console.error(error instanceof EnvironmentError ? error.message : error);
  process.exit(1);
});

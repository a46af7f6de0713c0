/**
 * A stand-in for a Mendix runtime, started as the real one is: `[java options] -jar …/runtimelauncher.jar APP_BASE`, or
 * for 5 and 6 with the application's place in `-Dfelix.config.properties`, and everything else in M2EE_* variables. It
 * speaks the documented protocol on both ports and keeps its sessions, files and structure in real places, so that what
 * is tested with it is the adapter and not a mock of it.
 *
 * Exit codes: 0 clean, 1 unknown, 2 admin port in use, 3 runtime port in use, 4 wrong JDK.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Server } from 'node:http';
import { dirname } from 'node:path';
import type { Container } from './actions.ts';
import { adminServer } from './admin-port.ts';
import { readBehaviour, readModel } from './model.ts';
import { StandInRuntime } from './runtime.ts';
import { webServer } from './web.ts';

const exitCodes = { adminPortInUse: 2, runtimePortInUse: 3 } as const;

/** Where the application is, as the command line says; undefined where the launcher is not where it should be. */
function applicationFolder(args: readonly string[]): string | undefined {
  const jar = args[args.indexOf('-jar') + 1];
  if (args.includes('-jar')) return jar !== undefined && existsSync(jar) ? args.at(-1) : undefined;
  const felix = args.find((one) => one.startsWith('-Dfelix.config.properties=file:'))?.split('file:')[1];
  const isFelix = args.at(-1) === 'org.apache.felix.main.Main' && args.includes('-cp');
  return felix !== undefined && isFelix && existsSync(felix) ? dirname(dirname(felix)) : undefined;
}

function listen(server: Server, port: number, addresses: string, exitCode: number): void {
  server.once('error', (error) => {
    process.stderr.write(`${error.message}\n`);
    process.exit(exitCode);
  });
  const [first = ''] = addresses.split(',');
  server.listen(port, first === '*' ? '0.0.0.0' : first || '127.0.0.1');
}

function main(): void {
  const appBase = applicationFolder(process.argv.slice(2));
  if (appBase === undefined) {
    process.stderr.write('Error: Unable to access jarfile\n');
    process.exit(1);
  }
  const { exitAtOnce } = readBehaviour(appBase);
  if (exitAtOnce !== undefined) process.exit(exitAtOnce);
  const environment = process.env;
  const runtime = new StandInRuntime(appBase, readModel(appBase), randomUUID());
  const web = webServer(runtime);
  const container: Container = {
    moveRuntimePort(port, addresses) {
      const now = web.address();
      if (typeof now === 'object' && now?.port === port) return;
      web.close();
      web.closeAllConnections();
      listen(web, port, addresses, exitCodes.runtimePortInUse);
    },
  };
  const shutdown = (): void => {
    if (readBehaviour(appBase).staysAlive) return;
    void runtime.stop().finally(() => process.exit(0));
  };
  const admin = adminServer({
    runtime,
    container,
    password: environment.M2EE_ADMIN_PASS ?? '',
    shutdown,
  });
  process.on('SIGTERM', shutdown);
  const runtimePort = Number(environment.M2EE_RUNTIME_PORT);
  listen(web, runtimePort, environment.M2EE_RUNTIME_LISTEN_ADDRESSES ?? '', exitCodes.runtimePortInUse);
  const adminPort = Number(environment.M2EE_ADMIN_PORT);
  listen(admin, adminPort, environment.M2EE_ADMIN_LISTEN_ADDRESSES ?? '', exitCodes.adminPortInUse);
  runtime.log.publish('INFO', 'M2EE', `Listening for administration on port ${adminPort}`);
}

main();

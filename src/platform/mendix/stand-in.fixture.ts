/** A stand-in runtime as a process of a test, without an agent around it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { installStandIn, type StandInInstallation } from '../../testing/mendix-runtime/install.ts';
import type { Behaviour, Model } from '../../testing/mendix-runtime/model.ts';
import { findFreePort } from '../free-port.ts';
import { AdminClient } from './admin-client.ts';

export const password = 'a long and random one';

export interface RunningStandIn {
  readonly installation: StandInInstallation;
  readonly client: AdminClient;
  readonly adminPort: number;
  readonly runtimePort: number;
  readonly process: ChildProcess;
  readonly exited: Promise<number | null>;
  dispose(): Promise<void>;
}

export async function startStandIn(
  model: Partial<Model> = {},
  behaviour: Behaviour = {},
): Promise<RunningStandIn> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-mendix-'));
  const installation = await installStandIn(folder, model, behaviour);
  const [adminPort, runtimePort] = [await findFreePort(), await findFreePort()];
  const [program = '', ...args] = installation.java;
  const version = model.RuntimeVersion ?? '9.6.0';
  const jar = join(installation.appBase, 'runtimes', version, 'runtime/launcher/runtimelauncher.jar');
  const child = spawn(program, [...args, '-jar', jar, installation.appBase], {
    env: {
      M2EE_ADMIN_PORT: String(adminPort),
      M2EE_ADMIN_PASS: password,
      M2EE_RUNTIME_PORT: String(runtimePort),
    },
    stdio: 'ignore',
  });
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  const client = new AdminClient({ host: '127.0.0.1', port: adminPort, password });
  const deadlineMs = performance.now() + 30_000;
  while (!(await client.call('echo', { echo: 'ping' }).catch(() => undefined))) {
    if (performance.now() > deadlineMs) throw new Error('the stand-in did not start');
    await sleep(20);
  }
  return {
    installation,
    client,
    adminPort,
    runtimePort,
    process: child,
    exited,
    async dispose() {
      child.kill('SIGKILL');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

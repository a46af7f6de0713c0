/** The probe's mark in a session, by what the session libraries have in common: keys, `save` and `destroy`. */
import type { ProbeRequest } from './probe-options.ts';

const key = 'holdfastProbe';

type Callback = (error?: unknown) => void;

interface AnySession {
  [key]?: unknown;
  save?(callback: Callback): unknown;
  destroy?(callback: Callback): unknown;
}

const sessionOf = ({ session }: ProbeRequest): AnySession | undefined =>
  typeof session === 'object' && session !== null ? session : undefined;

export const hasSessions = (request: ProbeRequest): boolean => sessionOf(request)?.save !== undefined;

export function markOf(request: ProbeRequest): string | null {
  const mark = sessionOf(request)?.[key];
  return typeof mark === 'string' ? mark : null;
}

/** Through the application's own session, so that its cookie and its store are what is examined. */
export async function remember(request: ProbeRequest, mark: string): Promise<void> {
  const session = sessionOf(request);
  if (!session) return;
  session[key] = mark;
  await settled((callback) => session.save?.(callback));
}

/** Only a session that the probe began: a user's is never ended. */
export async function forget(request: ProbeRequest): Promise<void> {
  const session = sessionOf(request);
  if (session && markOf(request) !== null) await settled((callback) => session.destroy?.(callback));
}

const settled = (start: (callback: Callback) => unknown): Promise<void> =>
  new Promise((resolve, reject) => start((error) => (error ? reject(error) : resolve())));

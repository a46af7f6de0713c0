/** What a Mendix runtime says of itself, as lines for a person. */
import type { Feedback } from '../platform/index.ts';

export function requestLines(requests: Feedback<'get_current_runtime_requests'>): string[] {
  const rows = Object.entries(requests)
    .map(([id, request]) => ({ id, ...(request as RuntimeRequest) }))
    .sort((a, b) => (b.request_duration ?? 0) - (a.request_duration ?? 0));
  if (rows.length === 0) return ['no request is being worked on'];
  return rows.flatMap(({ id, request_duration, type, user, action_stack }) => [
    `${id}  ${request_duration ?? '?'} ms  ${type ?? '?'}  ${user ?? 'nobody'}`,
    ...stackOf(action_stack).map((action) => `    ${action}`),
  ]);
}

interface RuntimeRequest {
  readonly request_duration?: number;
  readonly type?: string;
  readonly user?: string;
  readonly action_stack?: unknown;
}

const stackOf = (stack: unknown): string[] =>
  Array.isArray(stack) ? stack.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))) : [];

export function sessionLines(
  { count, users }: Feedback<'get_logged_in_user_names'>,
  sessions: Feedback<'runtime_statistics'>['sessions'],
): string[] {
  const shown = users.length < count ? ` (the first ${users.length})` : '';
  const sums = Object.entries(sessions ?? {}).filter(([, value]) => typeof value === 'number');
  return [
    `${count} ${count === 1 ? 'user is' : 'users are'} logged in${shown}`,
    ...users.map((user) => `    ${user}`),
    ...sums.map(([name, value]) => `${words(name)}  ${value}`),
  ];
}

export function statisticsLines(
  runtime: Feedback<'runtime_statistics'>,
  server: Feedback<'server_statistics'>,
): string[] {
  const sections: readonly [string, Readonly<Record<string, unknown>>][] = [
    ['requests', Object.fromEntries((runtime.requests ?? []).map(({ name, value }) => [name, value]))],
    ['sessions', runtime.sessions ?? {}],
    ['statements', runtime.connectionbus ?? {}],
    ['memory', runtime.memory ?? {}],
    ['cache', runtime.cache ?? {}],
    ['web server', server.jetty ?? {}],
    ['threads', server.threadpool ?? {}],
  ];
  return sections.flatMap(([title, values]) => {
    const numbers = Object.entries(values).filter(([, value]) => typeof value === 'number');
    const width = Math.max(0, ...numbers.map(([name]) => name.length));
    return numbers.length === 0
      ? []
      : [title, ...numbers.map(([name, value]) => `    ${words(name).padEnd(width)}  ${value}`)];
  });
}

/** The names of paths stay; those of counters are for people. */
const words = (name: string): string => (name.startsWith('/') ? name : name.replaceAll('_', ' '));

/** Asks the probe of one instance, directly or through a balancer, and tells apart why there is no answer. */
import { type ProbeLook, type ProbeTry, type ProbeVerb, readLook, readTry } from '../protocol/probe.ts';
import { type Ask, CookieJar, type HttpAnswer } from './http-client.ts';

/** Where a question is sent, and as whom. */
export interface Door {
  /** Without a slash at its end. */
  readonly url: string;
  /** Said of every request: the public host, and what a balancer would say. */
  readonly headers: Readonly<Record<string, string>>;
  readonly from?: string;
  /** The sticky cookie by which a balancer hands the question to one instance. */
  readonly cookie?: readonly [name: string, value: string];
}

export type ProbeReply<Told = Readonly<Record<string, unknown>>> =
  | { readonly kind: 'told'; readonly told: Told; readonly http: HttpAnswer }
  /** The application answers, and has no probe. */
  | { readonly kind: 'absent'; readonly why: string }
  /** The probe answers, and lacks what this question is about, or did not succeed. */
  | { readonly kind: 'refused'; readonly status: number; readonly why: string }
  | { readonly kind: 'unreached'; readonly why: string };

interface ProbeQuestion {
  readonly verb: ProbeVerb;
  readonly parameters?: readonly (readonly [string, string])[];
  readonly jar?: CookieJar;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ProbeClient {
  ask(door: Door, question: ProbeQuestion): Promise<ProbeReply>;
  look(door: Door, question?: Omit<ProbeQuestion, 'verb'>): Promise<ProbeReply<ProbeLook>>;
  try(door: Door): Promise<ProbeReply<ProbeTry>>;
}

const deadlineMs = 4_000;

export function probeClient({ ask, path, secret }: { ask: Ask; path: string; secret: string }): ProbeClient {
  async function question(
    { url, headers, from, cookie }: Door,
    { verb, parameters = [], jar = new CookieJar(), headers: more = {} }: ProbeQuestion,
  ): Promise<ProbeReply> {
    const query = new URLSearchParams({ do: verb });
    for (const [name, value] of parameters) query.append(name, value);
    const answer = await ask({
      url: `${url}${path}?${query}`,
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, ...headers, ...more, ...jar.header(cookie) },
      deadlineMs,
      ...(from === undefined ? {} : { from }),
    });
    if ('noAnswer' in answer) return { kind: 'unreached', why: answer.noAnswer };
    jar.keep(answer);
    return replyOf(answer);
  }
  return {
    ask: question,
    look: async (door, rest = {}) => read(await question(door, { verb: 'look', ...rest }), readLook),
    try: async (door) => read(await question(door, { verb: 'try' }), readTry),
  };
}

const read = <Told>(
  reply: ProbeReply,
  reader: (told: Readonly<Record<string, unknown>>) => Told,
): ProbeReply<Told> => (reply.kind === 'told' ? { ...reply, told: reader(reply.told) } : reply);

function replyOf(http: HttpAnswer): ProbeReply {
  const told = objectOf(http.body);
  const error = typeof told?.error === 'string' ? told.error : undefined;
  if (http.status === 200 && told) return { kind: 'told', told, http };
  if ([400, 403, 500, 501, 503].includes(http.status) && error !== undefined) {
    return { kind: 'refused', status: http.status, why: `the probe answers ${http.status}: ${error}` };
  }
  if (http.status >= 500) return { kind: 'unreached', why: `the answer was ${http.status}` };
  return { kind: 'absent', why: `the answer was ${http.status}, and not of a probe` };
}

function objectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
      ? { ...parsed }
      : undefined;
  } catch {
    return undefined; // a page
  }
}

/**
 * The first and the last activity of a microflow that asks before it works: it asks the agent whether this is the
 * runtime that may, and for which moment, and says how it went. What stands in the environment says where and with which secret.
 */
export async function gated(event: string, work: (due: Date) => Promise<void>): Promise<void> {
  const asked = await toAgent(`/events/${encodeURIComponent(event)}/ask`);
  const answer = (await asked.json()) as { run?: boolean; token: string; due: string };
  if (!answer.run) return;
  const end = await work(new Date(answer.due)).then(
    () => ({ outcome: 'succeeded' }),
    (error: Error) => ({ outcome: 'failed', reason: error.message }),
  );
  await toAgent(`/runs/${answer.token}/finish`, end);
}

function toAgent(path: string, body: object = {}): Promise<Response> {
  const { HOLDFAST_AGENT_URL: url, HOLDFAST_AGENT_SECRET: secret } = process.env;
  return fetch(`${url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

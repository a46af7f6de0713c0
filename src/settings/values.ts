/**
 * The kinds of value that a configuration is made of: durations, names, addresses, secret references. Each says in
 * its error what was expected, beginning with the word "expected"; what was found instead is added where the
 * problem is reported (problems.ts), because there it is known whether it may be shown.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { durationPattern, formatDuration, parseDuration } from '../support/duration.ts';
import { formatSize, parseSize, sizePattern } from '../support/size.ts';

export function text(expected: string, pattern: RegExp = /\S/) {
  return z.string({ error: expected }).regex(pattern, { error: expected, abort: true });
}

/** A length of time with its unit; in the configuration that comes out, milliseconds. */
export function duration(minMs: number, maxMs: number) {
  const expected = 'expected a duration with its unit, such as 500ms, 5s, 10m, 2h or 7d';
  return text(expected, durationPattern)
    .refine(
      (value) => {
        const ms = parseDuration(value);
        return ms !== undefined && ms >= minMs && ms <= maxMs;
      },
      { error: `expected a duration from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`, abort: true },
    )
    .transform((value) => parseDuration(value) ?? 0);
}

/** An amount of data with its unit; in the configuration that comes out, bytes. */
export function size(minBytes: number, maxBytes: number) {
  const expected = 'expected a size with its unit, such as 512B, 16KB, 10MB or 1GB';
  return text(expected, sizePattern)
    .refine(
      (value) => {
        const bytes = parseSize(value);
        return bytes !== undefined && bytes >= minBytes && bytes <= maxBytes;
      },
      { error: `expected a size from ${formatSize(minBytes)} to ${formatSize(maxBytes)}`, abort: true },
    )
    .transform((value) => parseSize(value) ?? 0);
}

export function wholeNumber(min: number, max: number) {
  const error = `expected a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error, abort: true }).max(max, { error, abort: true });
}

export const flag = z.boolean({ error: 'expected true or false' });

export const name = text(
  'expected a name of lower-case letters, digits and single hyphens, at most 63 characters',
  /^(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*$/,
);

export const commandLine = text('expected a command');
export const folder = text('expected the path of a folder');
export const filePath = text('expected the path of a file');

/** As the engines read it: without regard to case, and without the flags that make JavaScript stricter. */
export const regularExpression = text('expected a regular expression').superRefine((value, context) => {
  try {
    new RegExp(value, 'i');
  } catch (error) {
    const reason = (error as Error).message.replace(/^.*\/i?: /s, '');
    context.addIssue({ code: 'custom', message: `expected a regular expression: ${reason}` });
  }
});

const expectedStatus = 'expected a status from 200 to 599, or a range of them such as 200-299';

/** A status or a range of them; in the configuration that comes out, the lowest and the highest. */
export const statusRange = z
  .union(
    [
      z
        .int({ error: expectedStatus })
        .min(200, { error: expectedStatus })
        .max(599, { error: expectedStatus }),
      text(expectedStatus, /^[2-5]\d\d(?:-[2-5]\d\d)?$/),
    ],
    { error: expectedStatus },
  )
  .transform((value): readonly [lowest: number, highest: number] => {
    const [lowest = 0, highest = lowest] = String(value).split('-').map(Number);
    return [lowest, highest];
  })
  .refine(([lowest, highest]) => lowest <= highest, { error: expectedStatus });

/** Where a secret is found on the host that needs it. The value itself never stands in the configuration. */
export const secretReference = z.union(
  [
    z.strictObject({
      file: text('expected the path of a file').describe('File whose content is the secret.'),
    }),
    z.strictObject({
      env: text('expected the name of an environment variable', /^[A-Za-z_][A-Za-z0-9_]*$/).describe(
        'Environment variable that holds the secret.',
      ),
    }),
  ],
  { error: 'expected a reference to a secret, {file: PATH} or {env: NAME}' },
);

export type SecretReference = z.output<typeof secretReference>;

const hostPattern = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):(\d{1,5})$/;
const expectedListen = 'expected an address to listen on, such as 0.0.0.0:8080 or [::1]:8080';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** An address to listen on. `:8080` means every address of the machine. */
export const listenAddress = text(expectedListen, hostPattern)
  .refine((value) => addressOf(value) !== undefined, { error: expectedListen, abort: true })
  .transform((value): Address => addressOf(value) ?? { host: '127.0.0.1', port: 0 });

function addressOf(value: string): Address | undefined {
  const [, bracketed, plain, digits] = hostPattern.exec(value) ?? [];
  const port = Number(digits);
  if (!(port <= 65_535)) return undefined;
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? { host: bracketed, port } : undefined;
  if (/^[\d.]+$/.test(plain ?? '') && isIP(plain ?? '') === 0) return undefined;
  return { host: plain || '0.0.0.0', port };
}

/** A network such as 10.0.0.0/8; a single address is a network of one. */
export const network = text(
  'expected an address or a network such as 10.0.0.0/8 or fd00::/8',
  /^[\da-fA-F:.]+(\/\d+)?$/,
).refine(
  (value) => {
    const [address = '', bits, ...more] = value.split('/');
    const version = isIP(address);
    if (version === 0 || more.length > 0) return false;
    return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
  },
  { error: 'expected an address or a network such as 10.0.0.0/8 or fd00::/8' },
);

function webAddress(expected: string, accepts: (url: URL) => boolean) {
  return text(expected, /^https?:\/\/\S+$/).refine(
    (value) => {
      const url = URL.parse(value);
      return url !== null && !url.username && !url.password && !url.search && !url.hash && accepts(url);
    },
    { error: expected },
  );
}

export const publicUrl = webAddress(
  'expected the address that users open, such as https://shop.example.com, without user, query or fragment',
  () => true,
);

export const instanceUrl = webAddress(
  'expected the address of an instance, such as http://10.0.0.5:3000, without a path and without TLS',
  (url) => url.protocol === 'http:' && url.pathname === '/',
);

/** May have a query, as many receivers of webhooks want one; a password in it would be stored, a secret is not. */
export const webhookUrl = text(
  'expected an http or https address, such as https://alarm.example.com/holdfast',
  /^https?:\/\/\S+$/,
).refine(
  (value) => {
    const url = URL.parse(value);
    return url !== null && !url.username && !url.password && !url.hash;
  },
  {
    error:
      'expected an http or https address without user, password or fragment; what must stay secret belongs in `secret`',
  },
);

export const endpointUrl = webAddress('expected the http or https address of a server', () => true);

/** Several hosts are allowed, which the URL standard does not know: the writable primary among them is found. */
export const databaseUrl = text(
  'expected a PostgreSQL address such as postgres://holdfast@db1,db2/shop',
  /^postgres(?:ql)?:\/\/(?:[^\s@/?#]*@)?(?:(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._%-]+)(?::\d{1,5})?(?:,|(?=[/?]|$)))*(?:\/[^\s?#]*)?(?:\?[^\s#]*)?$/,
);

export const requestPath = text('expected a path that begins with a slash, such as /health', /^\/[^\s#]*$/);

export const timeZone = text('expected a time zone').refine(isTimeZone, {
  error: 'expected the name of a time zone, such as Europe/Amsterdam or UTC',
});

export function isTimeZone(value: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: value });
    return true;
  } catch {
    return false; // Intl answers an unknown zone with a RangeError and has no other way to ask
  }
}

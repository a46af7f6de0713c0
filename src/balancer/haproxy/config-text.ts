/**
 * Words of a haproxy.cfg. HAProxy reads its file like a shell: spaces part words, `#` begins a comment, and in double
 * quotes `$` is a variable. Within single quotes everything stands for itself, so that is how we write what we did not
 * make ourselves.
 */
export const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

export const escapeRegex = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');

/** HAProxy counts with 32 bits, signed; it takes no zero for a time-out. */
export const longestMs = 2_147_483_000;

export const time = (ms: number): string => `${Math.min(Math.max(Math.ceil(ms), 1), longestMs)}ms`;

/** Lines of a section, indented; empty ones and those of a part that is left out disappear. */
export const section = (title: string, ...lines: readonly (string | false | undefined)[]): string =>
  `${title}\n${lines
    .filter((line) => typeof line === 'string' && line !== '')
    .flatMap((line) => (line as string).split('\n'))
    .map((line) => `  ${line}`)
    .join('\n')}\n`;

export const lines = (...parts: readonly (string | false | undefined)[]): string =>
  parts.filter((part) => typeof part === 'string' && part !== '').join('\n');

export const hostText = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** A format of so many random hexadecimal digits, eight from each number. */
export const randomHex = (digits: number): string =>
  '%[rand(4294967295),hex,bytes(8,8),lower]'.repeat(digits / 8);

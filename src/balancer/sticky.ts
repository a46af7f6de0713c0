/**
 * The sticky cookie: which instance a user belongs to. It concerns the balancer and the browser alone, so it is taken
 * out of what the instance sees. A value that names no instance of the table is as good as none: the user gets
 * another instance and the cookie is written anew.
 */
export interface StickyReading {
  /** The values that the client sent under the name, in order. */
  readonly values: readonly string[];
  /** The headers without the cookie; a Cookie header that held nothing else is gone. */
  readonly headers: string[];
}

/** Takes the sticky cookie out of a header list; the other cookies stay as they are, byte for byte. */
export function takeStickyCookie(headers: readonly string[], cookieName: string): StickyReading {
  const values: string[] = [];
  const rest: string[] = [];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (name.length !== 6 || name.toLowerCase() !== 'cookie' || !value.includes(cookieName)) {
      rest.push(name, value);
      continue;
    }
    const others = value.split(';').filter((part) => {
      const equals = part.indexOf('=');
      if (equals < 0 || part.slice(0, equals).trim() !== cookieName) return true;
      values.push(unquoted(part.slice(equals + 1).trim()));
      return false;
    });
    const left = others.join(';').trim();
    if (left !== '') rest.push(name, left);
  }
  return { values, headers: rest };
}

export interface StickyCookie {
  readonly cookie: string;
  readonly maxAgeMs?: number;
}

/** The value of Set-Cookie that ties a user to an instance. */
export function stickySetCookie(sticky: StickyCookie, value: string, secure: boolean): string {
  const maxAge = sticky.maxAgeMs === undefined ? '' : `; Max-Age=${Math.floor(sticky.maxAgeMs / 1000)}`;
  return `${sticky.cookie}=${value}; Path=/${maxAge}; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
}

const unquoted = (text: string): string => /^"(.*)"$/.exec(text)?.[1] ?? text;

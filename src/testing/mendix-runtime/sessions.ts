/** Users' logins: in the database when sessions are persistent, so that every runtime knows them; else in this process alone. */
import { randomUUID } from 'node:crypto';
import type { ApplicationDatabase } from './database.ts';

export class Sessions {
  readonly #database: ApplicationDatabase | undefined;
  readonly #own = new Map<string, string>();

  constructor(database: ApplicationDatabase | undefined) {
    this.#database = database;
  }

  async login(user: string): Promise<string> {
    const id = randomUUID();
    if (this.#database) await this.#database.saveSession(id, user);
    else this.#own.set(id, user);
    return id;
  }

  async userOf(id: string): Promise<string | undefined> {
    return this.#database ? this.#database.userOf(id) : this.#own.get(id);
  }

  async logout(id: string): Promise<void> {
    if (this.#database) await this.#database.removeSession(id);
    else this.#own.delete(id);
  }

  async users(): Promise<string[]> {
    return this.#database ? this.#database.users() : [...new Set(this.#own.values())].sort();
  }
}

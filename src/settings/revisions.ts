/** The revisions of the configuration in the arbiter: immutable, numbered, the latest one is in force. */
import type { Arbiter } from '../database/arbiter.ts';
import type { JsonValue } from './document.ts';

export interface Revision {
  readonly number: number;
  readonly document: JsonValue;
  readonly digest: string;
  readonly author: string;
  readonly message: string;
  readonly createdAt: Date;
}

type Queries = Pick<Arbiter, 'query'>;

export async function currentRevision(arbiter: Queries): Promise<Revision | undefined> {
  const [row] = await arbiter.query<{
    number: string;
    document: JsonValue;
    digest: string;
    author: string;
    message: string;
    created_at: Date;
  }>(
    `select number, document, digest, author, message, created_at
     from holdfast.revision order by number desc limit 1`,
  );
  if (!row) return undefined;
  const { document, digest, author, message, created_at: createdAt } = row;
  return { number: Number(row.number), document, digest, author, message, createdAt };
}

/** Stores a revision unless it is already the current one. Either way, the number of the one that is current now. */
export async function storeRevision(
  arbiter: Queries,
  revision: Pick<Revision, 'document' | 'digest' | 'author' | 'message'>,
): Promise<{ number: number; stored: boolean }> {
  const [row] = await arbiter.query<{ number: string; stored: boolean }>(
    `with latest as (
       select number, digest from holdfast.revision order by number desc limit 1
     ), inserted as (
       insert into holdfast.revision (document, digest, author, message)
       select $1::jsonb, $2, $3, $4
       where not exists (select from latest where digest = $2)
       returning number
     )
     select number, true as stored from inserted
     union all
     select number, false from latest where digest = $2`,
    [JSON.stringify(revision.document), revision.digest, revision.author, revision.message],
  );
  if (!row) throw new Error('storing a revision returned no row');
  return { number: Number(row.number), stored: row.stored };
}

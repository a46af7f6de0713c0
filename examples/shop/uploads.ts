/** A picture as it comes: a form with a file, or, for scripts, the bare picture with `?product=` in the address. */
import type { FastifyRequest } from 'fastify';
import type { CatalogueReader } from './catalogue.ts';
import type { Database } from './database.ts';
import { textField } from './input.ts';
import { type PictureStore, pictureLimitBytes } from './pictures.ts';
import { Refusal } from './refusal.ts';

interface Upload {
  readonly content: Buffer | undefined;
  readonly product: string | undefined;
}

export async function takeUpload(
  request: FastifyRequest,
): Promise<{ content: Buffer; product: string | undefined }> {
  const { content, product } = request.isMultipart() ? await fromForm(request) : fromBody(request);
  if (!content || content.length === 0) {
    throw new Refusal(
      400,
      'There is no picture in this request: send a form with a file, or the picture itself.',
    );
  }
  if (content.length > pictureLimitBytes) {
    throw new Refusal(413, `A picture may have ${pictureLimitBytes / 1024 / 1024} MB at most.`);
  }
  return { content, product };
}

async function fromForm(request: FastifyRequest): Promise<Upload> {
  let content: Buffer | undefined;
  let product: string | undefined;
  const limits = { fileSize: pictureLimitBytes, files: 1, fields: 5, fieldSize: 1_000, parts: 6 };
  for await (const part of request.parts({ limits })) {
    if (part.type === 'file') content = await part.toBuffer();
    else if (part.fieldname === 'product') product = productName({ product: part.value });
  }
  return { content, product };
}

function fromBody(request: FastifyRequest): Upload {
  const query = request.query as Record<string, unknown>;
  const product = query.product === undefined ? undefined : productName(query);
  return { content: Buffer.isBuffer(request.body) ? request.body : undefined, product };
}

function productName(fields: unknown): string {
  return textField(fields, 'product', 100);
}

/** File first, row last. Answers the name under which the picture can be had. */
export async function publish(
  upload: { content: Buffer; product: string | undefined; user: string },
  parts: { database: Database; pictures: PictureStore; catalogue: CatalogueReader },
): Promise<string> {
  const { content, product, user } = upload;
  const { products } = await parts.catalogue.read();
  if (product !== undefined && !products.some(({ id }) => id === product)) {
    throw new Refusal(400, `There is no product "${product}".`);
  }
  const id = await parts.pictures.keep(content);
  try {
    await parts.database.query(
      'insert into shop.picture (id, product, uploaded_by, bytes) values ($1, $2, $3, $4)',
      [id, product ?? null, user, content.length],
    );
  } catch (error) {
    // A database that gave no answer may have stored the row all the same: then the file must stay.
    if (!(error instanceof Refusal)) await parts.pictures.discard(id);
    throw error;
  }
  parts.catalogue.changed();
  return id;
}

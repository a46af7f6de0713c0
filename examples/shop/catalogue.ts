/**
 * The products and their pictures, answered from memory.
 *
 * A copy younger than a second is as good as the database. An older one is renewed, and waited for, but not for
 * long: when the database is slow or away, the last copy is served, at first the seed. The front page stays up.
 */
import type { Database, ProductRow } from './database.ts';

const freshForMs = 1_000;
const waitAtMostMs = 250;

export interface Product extends ProductRow {
  readonly pictures: readonly string[];
}

export interface Catalogue {
  readonly products: readonly Product[];
  /** Pictures of no product in particular. */
  readonly gallery: readonly string[];
}

export interface CatalogueReader {
  read(): Promise<Catalogue>;
  /** Something was changed here: the next read waits until it is seen. */
  changed(): void;
}

export const seed: readonly ProductRow[] = [
  {
    id: 'anchor',
    name: 'Folding anchor',
    description: 'Holds fast in sand, mud and weed.',
    priceCents: 6_450,
  },
  {
    id: 'rope',
    name: 'Manila rope, 30 m',
    description: 'Three strands; smells of harbours.',
    priceCents: 3_890,
  },
  {
    id: 'lantern',
    name: 'Storm lantern',
    description: 'Burns on when everything else is dark.',
    priceCents: 2_975,
  },
  {
    id: 'compass',
    name: 'Brass compass',
    description: 'Points the same way for everybody.',
    priceCents: 5_400,
  },
  {
    id: 'buoy',
    name: 'Life buoy',
    description: 'For whoever falls over, until help comes.',
    priceCents: 4_700,
  },
  {
    id: 'bell',
    name: "Ship's bell",
    description: 'One stroke every half hour, never two.',
    priceCents: 8_125,
  },
  {
    id: 'telescope',
    name: 'Telescope',
    description: 'See trouble while it is still far away.',
    priceCents: 7_350,
  },
  {
    id: 'flag',
    name: 'Signal flag',
    description: 'Says what needs to be said, without a word.',
    priceCents: 1_560,
  },
];

const readProducts = `
  select p.id, p.name, p.description, p.price_cents as "priceCents",
         coalesce((select array_agg(recent.id order by recent.uploaded_at desc)
                   from (select id, uploaded_at from shop.picture where product = p.id
                         order by uploaded_at desc limit 12) recent), '{}') as pictures
  from shop.product p order by p.position, p.id
`;
const readGallery = 'select id from shop.picture where product is null order by uploaded_at desc limit 24';

export function openCatalogue(
  database: Database,
  nowMs: () => number = () => performance.now(),
): CatalogueReader {
  let known: Catalogue = { products: seed.map((row) => ({ ...row, pictures: [] })), gallery: [] };
  let knownSinceMs = Number.NEGATIVE_INFINITY;
  let mustSee = false;
  let failing = false;
  let renewal: Promise<void> | undefined;

  function renew(): Promise<void> {
    renewal ??= load().finally(() => {
      renewal = undefined;
    });
    return renewal;
  }

  async function load(): Promise<void> {
    const askedAtMs = nowMs();
    mustSee = false;
    try {
      const [products, gallery] = await Promise.all([
        database.query<Product>(readProducts),
        database.query<{ id: string }>(readGallery),
      ]);
      known = { products, gallery: gallery.map(({ id }) => id) };
      knownSinceMs = askedAtMs;
      failing = false;
    } catch {
      failing = true; // the last copy stands in
    }
  }

  return {
    async read() {
      if (mustSee && !failing) {
        await renewal; // it may have been asked before the change
        await renew();
      } else if (nowMs() - knownSinceMs > freshForMs) {
        const renewed = renew();
        if (!failing) await Promise.race([renewed, pause(waitAtMostMs)]);
      }
      return known;
    },
    changed() {
      mustSee = true;
    },
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

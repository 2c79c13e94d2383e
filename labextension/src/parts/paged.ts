/** Lists that are loaded a page at a time, and kept up to date. */
import { useCallback, useMemo, useReducer, useRef } from 'react';
import { useApp, useAsked, type Asked } from '../app';
import type { Api } from '../api/client';

export interface Pages<Item> extends Asked<Item[]> {
  /** Loads more, if there is more. */
  more: () => void;
  hasMore: boolean;
  /** Tells which items are in sight: their pages are kept up to date. */
  see: (first: number, last: number) => void;
}

export interface Part<Item> {
  items: Item[];
  hasMore: boolean;
}

export const PAGE = 100;

/** Pages by their number; a page that is old has been overtaken by a change since it was loaded. */
export interface Book<Item> {
  key: string;
  pages: readonly Part<Item>[];
  old: ReadonlySet<number>;
}

/** A book with some pages as they are now; `isNewer` if the others may have changed too. Pages after the last are none. */
export function withPages<Item>(
  book: Book<Item>,
  parts: ReadonlyMap<number, Part<Item>>,
  isNewer: boolean
): Book<Item> {
  const pages = [...book.pages];
  [...parts].sort(([a], [b]) => a - b).forEach(([number, part]) => (pages[number] = part));
  const end = pages.findIndex(page => !page.hasMore || !page.items.length);
  const kept = end < 0 ? pages : pages.slice(0, end + 1);
  const old = kept.map((_, number) => number).filter(number => !parts.has(number) && (isNewer || book.old.has(number)));
  return { key: book.key, pages: kept, old: new Set(old) };
}

/** All items once, in order, each with the number of its page: one that moved is on two pages until both are new. */
export function bound<Item>(book: Book<Item>, id: (item: Item) => string): { items: Item[]; pageOf: number[] } {
  const known = new Set<string>();
  const items: Item[] = [];
  const pageOf: number[] = [];
  book.pages.forEach((page, number) => {
    page.items.forEach(item => {
      const name = id(item);
      if (!known.has(name)) {
        known.add(name);
        items.push(item);
        pageOf.push(number);
      }
    });
  });
  return { items, pageOf };
}

/**
 * A list whose first page, and the pages in sight, are asked again whenever a topic changes; others are added as the user
 * scrolls, and asked again when they come into sight.
 *
 * @param key - what is asked, as text.
 * @param id - what tells items apart: one that moved to another page is not shown twice.
 */
export function usePages<Item>(
  key: string,
  ask: (api: Api, offset: number, limit: number) => Promise<Part<Item>>,
  topics: string[],
  id: (item: Item) => string
): Pages<Item> {
  const { api } = useApp();
  const latest = useRef({ ask, id, key });
  latest.current = { ask, id, key };
  const book = useRef<Book<Item>>({ key: '', pages: [], old: new Set() });
  const inSight = useRef<readonly [number, number]>([0, 0]);
  const coming = useRef(new Set<string>());
  const [, show] = useReducer((count: number) => count + 1, 0);

  const asked = useAsked<Book<Item>>(
    key,
    async each => {
      const isSame = book.current.key === key;
      const [first, last] = isSame ? inSight.current : [0, 0];
      const seen = Array.from({ length: last - first + 1 }, (_, index) => first + index);
      const numbers = [...new Set([0, ...seen.filter(number => number < book.current.pages.length)])];
      const parts = await Promise.all(
        numbers.map(async number => [number, await ask(each, number * PAGE, PAGE)] as const)
      );
      if (latest.current.key === key) {
        const before = book.current.key === key ? book.current : { key, pages: [], old: new Set<number>() };
        book.current = withPages(before, new Map(parts), true);
      }
      return book.current;
    },
    topics
  );

  const load = useCallback(
    (number: number) => {
      const mine = `${String(number)} ${key}`;
      if (book.current.key !== key || coming.current.has(mine)) {
        return;
      }
      coming.current.add(mine);
      latest.current
        .ask(api, number * PAGE, PAGE)
        .then(
          part => {
            // meanwhile there may be fewer pages: a gap would be none of the list
            if (book.current.key === key && number <= book.current.pages.length) {
              book.current = withPages(book.current, new Map([[number, part]]), false);
              show();
            }
          },
          () => undefined // the next look at it asks again
        )
        .finally(() => coming.current.delete(mine));
    },
    [api, key]
  );

  const shown = book.current;
  const isThere = asked.data !== null;
  const { items, pageOf } = useMemo(() => bound(shown, latest.current.id), [shown]);
  const hasMore = shown.key === key && (shown.pages.at(-1)?.hasMore ?? false);
  const more = useCallback(() => {
    if (hasMore) {
      load(shown.pages.length);
    }
  }, [hasMore, load, shown]);
  const see = useCallback(
    (first: number, last: number) => {
      const range = [pageOf[first] ?? 0, pageOf[Math.min(last, pageOf.length) - 1] ?? 0] as const;
      inSight.current = range;
      [...shown.old].filter(number => number >= range[0] && number <= range[1]).forEach(load);
    },
    [pageOf, shown, load]
  );

  return {
    data: isThere ? items : null,
    error: asked.error,
    isLoading: asked.isLoading,
    retry: asked.retry,
    more,
    hasMore,
    see
  };
}

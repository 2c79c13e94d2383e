/** Lists that are loaded a page at a time, and kept up to date. */
import { useCallback, useMemo, useRef, useState } from 'react';
import { useApp, useAsked, type Asked } from '../app';
import type { Api } from '../api/client';

export interface Pages<Item> extends Asked<Item[]> {
  /** Loads more, if there is more. */
  more: () => void;
  hasMore: boolean;
}

export interface Part<Item> {
  items: Item[];
  hasMore: boolean;
}

const FIRST = 100;
const NEXT = 500;

/**
 * A list of which the first page is asked again whenever a topic changes, and others are added as the user scrolls.
 *
 * @param key - what is asked, as text.
 * @param id - what tells items apart: one that moved to the first page is not shown twice.
 */
export function usePages<Item>(
  key: string,
  ask: (api: Api, offset: number, limit: number) => Promise<Part<Item>>,
  topics: string[],
  id: (item: Item) => string
): Pages<Item> {
  const { api } = useApp();
  const head = useAsked(key, each => ask(each, 0, FIRST), topics);
  const [rest, setRest] = useState<{ key: string; items: Item[]; hasMore: boolean } | null>(null);
  const latest = useRef({ ask, id });
  latest.current = { ask, id };
  const isLoading = useRef('');

  const later = rest?.key === key ? rest : null;
  const data = useMemo(() => {
    if (!head.data) {
      return null;
    }
    const first = head.data.items;
    if (!later) {
      return first;
    }
    const known = new Set(first.map(item => latest.current.id(item)));
    return [...first, ...later.items.filter(item => !known.has(latest.current.id(item)))];
  }, [head.data, later]);

  const hasMore = later ? later.hasMore : (head.data?.hasMore ?? false);
  const offset = data?.length ?? 0;
  const more = useCallback(() => {
    if (!hasMore || isLoading.current === `${key} ${String(offset)}`) {
      return;
    }
    isLoading.current = `${key} ${String(offset)}`;
    latest.current.ask(api, offset, NEXT).then(
      part => {
        setRest(before => ({
          key,
          items: [...(before?.key === key ? before.items : []), ...part.items],
          hasMore: part.hasMore && part.items.length > 0
        }));
      },
      () => {
        // the next look at the end of the list asks again
        isLoading.current = '';
      }
    );
  }, [api, hasMore, key, offset]);

  return { data, error: head.error, isLoading: head.isLoading, retry: head.retry, more, hasMore };
}

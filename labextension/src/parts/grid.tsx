/** A list of any length, of which only what is seen is drawn; rows are loaded a page at a time. */
import {
  useCallback,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  type KeyboardEvent,
  type ReactNode,
  type UIEvent
} from 'react';

const BEYOND = 12;

export interface RowsProps<Item> {
  items: Item[];
  /** Pixels of every row. */
  height: number;
  label: string;
  keyOf: (item: Item) => string;
  render: (item: Item, index: number) => ReactNode;
  /** Called when the end comes into sight. */
  onEnd?: () => void;
  /** Called with what is in sight, as it and the items change. */
  onSee?: (first: number, last: number) => void;
  onOpen?: (item: Item) => void;
  isChosen?: (item: Item) => boolean;
  onChoose?: (item: Item) => void;
  className?: string;
}

/** Rows with a roving focus: arrows move, Enter opens, Space chooses. */
export function Rows<Item>(props: RowsProps<Item>): ReactNode {
  const { items, height, label, keyOf, render, onEnd, onSee, onOpen, isChosen, onChoose, className = '' } = props;
  const place = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState({ top: 0, height: 600 });
  const [active, setActive] = useState(0);
  const top = useRef(0);

  useLayoutEffect(() => {
    const element = place.current;
    if (!element) {
      return;
    }
    let wasHidden = false;
    const measure = () => {
      if (!element.clientHeight) {
        // it is hidden, and forgets where it stood
        wasHidden = true;
        return;
      }
      if (wasHidden) {
        wasHidden = false;
        element.scrollTop = top.current;
      }
      setSeen({ top: element.scrollTop, height: element.clientHeight });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => {
      observer.disconnect();
    };
  }, []);

  const first = Math.max(0, Math.floor(seen.top / height) - BEYOND);
  const last = Math.min(items.length, Math.ceil((seen.top + seen.height) / height) + BEYOND);
  useEffect(() => {
    if (onEnd && last >= items.length) {
      onEnd();
    }
  }, [last, items.length, onEnd]);
  useEffect(() => {
    onSee?.(first, last);
  }, [first, last, onSee]);

  const go = useCallback(
    (to: number) => {
      const next = Math.max(0, Math.min(items.length - 1, to));
      setActive(next);
      const element = place.current;
      if (element) {
        if (next * height < element.scrollTop) {
          element.scrollTop = next * height;
        } else if ((next + 1) * height > element.scrollTop + element.clientHeight) {
          element.scrollTop = (next + 1) * height - element.clientHeight;
        }
        requestAnimationFrame(() => element.querySelector<HTMLElement>(`[data-row="${String(next)}"]`)?.focus());
      }
    },
    [items.length, height]
  );

  const onKey = (event: KeyboardEvent<HTMLDivElement>) => {
    const row = event.target as HTMLElement;
    if (!row.dataset.row) {
      return;
    }
    const item = items[active];
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    const step = steps[event.key];
    if (step !== undefined) {
      go(active + step);
    } else if (event.key === 'Home') {
      go(0);
    } else if (event.key === 'End') {
      go(items.length - 1);
    } else if (event.key === 'Enter' && item !== undefined) {
      onOpen?.(item);
    } else if (event.key === ' ' && item !== undefined && onChoose) {
      onChoose(item);
    } else {
      return;
    }
    event.preventDefault();
  };

  return (
    <div
      ref={place}
      className={`hops-rows ${className}`}
      role="list"
      aria-label={label}
      onKeyDown={onKey}
      onScroll={(event: UIEvent<HTMLDivElement>) => {
        const { scrollTop, clientHeight } = event.currentTarget;
        if (clientHeight) {
          top.current = scrollTop;
          setSeen({ top: scrollTop, height: clientHeight });
        }
      }}
    >
      <div style={{ height: items.length * height, position: 'relative' }} role="presentation">
        {items.slice(first, last).map((item, at) => {
          const index = first + at;
          return (
            <div
              key={keyOf(item)}
              role="listitem"
              aria-setsize={items.length}
              aria-posinset={index + 1}
              data-row={index}
              tabIndex={index === Math.min(active, items.length - 1) ? 0 : -1}
              className={`hops-row${isChosen?.(item) ? ' hops-row-chosen' : ''}`}
              style={{ position: 'absolute', top: index * height, height, left: 0, right: 0 }}
              onFocus={() => {
                setActive(index);
              }}
              onClick={event => {
                if (!(event.target as HTMLElement).closest('button, input, a, label')) {
                  onOpen?.(item);
                }
              }}
            >
              {render(item, index)}
            </div>
          );
        })}
      </div>
    </div>
  );
}

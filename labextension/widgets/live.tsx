/** What every live widget does: holds what the kernel told, asks for the whole when it missed something, renders. */
import type { AnyModel, AnyWidget } from '@anywidget/types';
import { useEffect, useState, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';

/** A value that components follow with `useSyncExternalStore`. */
export class Store<Shown> {
  private readonly _listeners = new Set<() => void>();

  constructor(private _shown: Shown) {}

  readonly current = (): Shown => this._shown;

  readonly subscribe = (listener: () => void): (() => void) => {
    this._listeners.add(listener);
    return () => this._listeners.delete(listener);
  };

  show(shown: Shown): void {
    this._shown = shown;
    this._listeners.forEach(listener => {
      listener();
    });
  }
}

// the kernel says something every five seconds, if it has nothing else to say that it lives
const SILENCE_MS = 15_000;
const LOOK_MS = 2_000;

/** Since when the kernel has been silent, in seconds since the epoch; null while it speaks, and when it need not. */
export function useSilence(heard_ms: () => number, isFinal: boolean): number | null {
  const [since, setSince] = useState<number | null>(null);
  useEffect(() => {
    if (isFinal) {
      setSince(null);
      return;
    }
    const look = () => {
      setSince(Date.now() - heard_ms() > SILENCE_MS ? heard_ms() / 1000 : null);
    };
    const timer = setInterval(look, LOOK_MS);
    return () => {
      clearInterval(timer);
    };
  }, [heard_ms, isFinal]);
  return since;
}

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 30_000;

/**
 * One widget of the kernel, which may have several views on the page.
 *
 * @param use - takes a message; `false` if messages before it were missed, `null` if it is none that is counted.
 */
export function liveWidget(
  use: (message: unknown) => boolean | null,
  styles: string,
  view: (model: AnyModel) => ReactNode
): AnyWidget {
  return {
    initialize({ model }: { model: AnyModel }) {
      let isAsking = true;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const ask = (retryMs = FIRST_RETRY_MS) => {
        isAsking = true;
        model.send({ type: 'ready' });
        // a kernel that is just making the widget may not listen yet, and nobody tells
        timer = setTimeout(ask, retryMs, Math.min(2 * retryMs, LAST_RETRY_MS));
      };
      model.on('msg:custom', (message: unknown) => {
        const isUsed = use(message);
        if (isUsed === null) {
          return;
        }
        if (isUsed) {
          isAsking = false;
          clearTimeout(timer);
        } else if (!isAsking) {
          ask();
        }
      });
      ask();
      return () => {
        clearTimeout(timer);
      };
    },
    render({ model, el }: { model: AnyModel; el: HTMLElement }) {
      const sheet = document.createElement('style');
      sheet.textContent = styles;
      const place = document.createElement('div');
      el.append(sheet, place);
      const root = createRoot(place);
      root.render(view(model));
      return () => {
        root.unmount();
      };
    }
  };
}

/** Whether something from the kernel is a message of a type. */
export function isMessage<T extends { type: string }>(message: unknown, type: T['type']): message is T {
  return typeof message === 'object' && message !== null && (message as { type?: unknown }).type === type;
}

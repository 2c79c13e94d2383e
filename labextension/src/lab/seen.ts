/** Widgets that know whether somebody sees them, and values that change. */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { Signal, type ISignal } from '@lumino/signaling';
import { useEffect, useState } from 'react';

/** A value that changes. */
export interface ISource<T> {
  current: T;
  changed: ISignal<unknown, T>;
}

export class Source<T> implements ISource<T> {
  readonly changed = new Signal<this, T>(this);

  constructor(private _current: T) {}

  get current(): T {
    return this._current;
  }

  set current(next: T) {
    if (next !== this._current) {
      this._current = next;
      this.changed.emit(next);
    }
  }
}

export function useSource<T>(source: ISource<T>): T {
  const [value, setValue] = useState(source.current);
  useEffect(() => {
    const take = (_: unknown, next: T) => {
      setValue(next);
    };
    setValue(source.current);
    source.changed.connect(take);
    return () => {
      source.changed.disconnect(take);
    };
  }, [source]);
  return value;
}

/** A widget whose screens ask nothing of the server while nobody sees them. */
export abstract class SeenWidget extends ReactWidget {
  readonly seen = new Source(false);

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.seen.current = this.isVisible;
  }

  protected override onBeforeShow(message: Message): void {
    super.onBeforeShow(message);
    this.seen.current = true;
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.seen.current = false;
  }
}

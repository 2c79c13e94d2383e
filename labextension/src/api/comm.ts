/** The API over a widget's messages, for boards: the kernel answers them as the server answers HTTP. */
import type { AnyModel } from '@anywidget/types';
import type { Answer, Method, Query, Transport } from './client';
import type { Changed } from './types';

const PATIENCE_MS = 60_000;

interface Answered extends Answer {
  type: 'answer';
  page: string;
  id: number;
}

type Heard = Answered | (Changed & { type: 'changed' });

interface Pending {
  resolve: (answer: Answer) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class CommTransport implements Transport {
  private readonly _model: Pick<AnyModel, 'send' | 'on' | 'off'>;
  // several pages may show the same widget; each takes its own answers
  private readonly _page = Math.random().toString(36).slice(2);
  private readonly _pending = new Map<number, Pending>();
  private readonly _listeners = new Set<(changed: Changed) => void>();
  private _last = 0;

  constructor(model: Pick<AnyModel, 'send' | 'on' | 'off'>) {
    this._model = model;
    model.on('msg:custom', this._hear);
  }

  request(method: Method, path: string, query: Query, body: unknown, signal?: AbortSignal): Promise<Answer> {
    const id = ++this._last;
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        clearTimeout(timer);
        this._pending.delete(id);
        reject(new Error('the kernel does not answer: it may have ended'));
      };
      const timer = setTimeout(giveUp, PATIENCE_MS);
      signal?.addEventListener('abort', giveUp);
      this._pending.set(id, { resolve, timer });
      const request = { type: 'request', page: this._page, id, method, path, query: listed(query), body };
      this._model.send(request);
    });
  }

  listen(onChanged: (changed: Changed) => void): () => void {
    this._listeners.add(onChanged);
    return () => {
      this._listeners.delete(onChanged);
    };
  }

  close(): void {
    this._model.off('msg:custom', this._hear);
    this._pending.forEach(({ timer }) => {
      clearTimeout(timer);
    });
    this._pending.clear();
  }

  private readonly _hear = (message: unknown): void => {
    const heard = message as Heard;
    if (heard.type === 'changed') {
      const { boot, seq, topics } = heard;
      this._listeners.forEach(listener => {
        listener({ boot, seq, topics });
      });
    } else if (heard.page === this._page) {
      const pending = this._pending.get(heard.id);
      this._pending.delete(heard.id);
      clearTimeout(pending?.timer);
      pending?.resolve({ status: heard.status, body: heard.body });
    }
  };
}

/** Every parameter with all its values, as an address would hold them; empty ones are left out. */
function listed(query: Query): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(query)
      .filter(([, value]) => value !== null && value !== undefined && value !== '')
      .map(([name, value]) => [name, Array.isArray(value) ? value : [String(value)]])
  );
}

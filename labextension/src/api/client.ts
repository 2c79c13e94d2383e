/** The API as screens use it, over whatever transport the page has. */
import type { Changed, Missed } from './types';

export type Query = Record<string, string | number | boolean | string[] | null | undefined>;
export type Method = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';

export interface Answer {
  status: number;
  body: unknown;
}

/** How requests reach the API, and how the API is heard: over HTTP in the Lab, over the widget's comm in boards. */
export interface Transport {
  /**
   * Rejects only where there is no answer. `path` begins below `/hops/api/v1`, with its parts quoted; `signal` tells when
   * nobody waits for the answer any more.
   */
  request(method: Method, path: string, query: Query, body: unknown, signal?: AbortSignal): Promise<Answer>;
  /** Returns what ends it. `onConnection` tells when the stream was lost and when it stands again. */
  listen(onChanged: (changed: Changed) => void, onConnection: (isLive: boolean) => void): () => void;
}

/** A problem document (RFC 9457), or no answer at all (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string
  ) {
    super(detail || title);
  }
}

const NO_ANSWER = 'The server does not answer';

type OnChange = (topics: ReadonlySet<string> | null) => void;

const HEARTBEAT_MS = 30_000;
const RETRY_MS = 2_000;
// a server that hangs, and a network that swallows what it is given, end no request
const PROMPT_MS = 20_000;

export class Api {
  private readonly _transport: Transport;
  private readonly _listeners = new Set<OnChange>();
  private readonly _watchers = new Set<(isLive: boolean) => void>();
  private _boot = '';
  private _seq = 0;
  private _isLive = true;
  private _isAsking = false;
  private _isAgainWanted = false;
  private _retry: ReturnType<typeof setTimeout> | undefined;
  private _end: (() => void) | null = null;

  constructor(transport: Transport) {
    this._transport = transport;
  }

  get<T>(path: string, query: Query = {}): Promise<T> {
    return this._ask<T>('GET', path, query);
  }

  /** As `get`, for what is answered at once: long silence means that nobody answers. */
  async getPromptly<T>(path: string, query: Query = {}): Promise<T> {
    const waiting = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const silence = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this._connected(false);
        reject(new ApiError(0, NO_ANSWER, `it has been silent for ${String(PROMPT_MS / 1000)} s`));
        waiting.abort();
      }, PROMPT_MS);
    });
    try {
      return await Promise.race([this._ask<T>('GET', path, query, undefined, waiting.signal), silence]);
    } finally {
      clearTimeout(timer);
    }
  }

  post<T>(path: string, body: unknown = {}): Promise<T> {
    return this._ask<T>('POST', path, {}, body);
  }

  patch<T>(path: string, body: unknown): Promise<T> {
    return this._ask<T>('PATCH', path, {}, body);
  }

  put<T>(path: string, body: unknown): Promise<T> {
    return this._ask<T>('PUT', path, {}, body);
  }

  delete<T>(path: string): Promise<T> {
    return this._ask<T>('DELETE', path, {});
  }

  /** Ask everything that is shown anew. */
  refresh(): void {
    this._tell(null);
    void this._catchUp();
  }

  /** Whether changes are heard. */
  get isLive(): boolean {
    return this._isLive;
  }

  /**
   * Calls back when one of some topics has changed: `features`, `runs`, `run/ID`, `models`, `cluster`. The one stream of
   * the page is open while anybody listens.
   */
  onChange(topics: string[], callback: () => void): () => void {
    const listener: OnChange = changed => {
      if (changed === null || topics.some(topic => changed.has(topic))) {
        callback();
      }
    };
    this._listeners.add(listener);
    this._open();
    return () => {
      this._listeners.delete(listener);
      if (!this._listeners.size) {
        this._end?.();
        this._end = null;
      }
    };
  }

  onConnection(callback: (isLive: boolean) => void): () => void {
    this._watchers.add(callback);
    return () => this._watchers.delete(callback);
  }

  private _open(): void {
    if (this._end) {
      return;
    }
    const leave = this._transport.listen(
      changed => {
        this._hear(changed);
      },
      isLive => {
        this._connected(isLive);
        if (isLive) {
          void this._catchUp();
        }
      }
    );
    const page = typeof document === 'undefined' ? null : document;
    const look = () => {
      if (!page?.hidden) {
        void this._catchUp();
      }
    };
    const heartbeat = setInterval(look, HEARTBEAT_MS);
    // a page that was in the background hears at once what it missed
    page?.addEventListener('visibilitychange', look);
    this._end = () => {
      clearInterval(heartbeat);
      page?.removeEventListener('visibilitychange', look);
      clearTimeout(this._retry);
      leave();
    };
    void this._catchUp();
  }

  private _hear(changed: Changed): void {
    if (changed.boot === this._boot && changed.seq <= this._seq) {
      return;
    }
    if (changed.boot !== this._boot || changed.seq !== this._seq + 1) {
      void this._catchUp();
      return;
    }
    this._seq = changed.seq;
    this._tell(new Set(changed.topics));
  }

  /** Ask for what was missed; this also tells the API that somebody listens. */
  private async _catchUp(): Promise<void> {
    if (this._isAsking) {
      // the answer that is to come may have been made before what is missed now
      this._isAgainWanted = true;
      return;
    }
    this._isAsking = true;
    this._isAgainWanted = false;
    try {
      const missed = await this.getPromptly<Missed>('/changes', { boot: this._boot, since: this._seq });
      const isFirst = !this._boot;
      [this._boot, this._seq] = [missed.boot, missed.seq];
      this._connected(true);
      if (missed.reset && !isFirst) {
        this._tell(null);
      } else if (missed.topics.length) {
        this._tell(new Set(missed.topics));
      }
    } catch {
      this._connected(false);
    } finally {
      this._isAsking = false;
    }
    this._catchUpAgain();
  }

  private _catchUpAgain(): void {
    // while the server is away, the next try asks
    if (this._isAgainWanted && this._isLive) {
      void this._catchUp();
    }
  }

  private _connected(isLive: boolean): void {
    clearTimeout(this._retry);
    if (!isLive && this._end) {
      this._retry = setTimeout(() => void this._catchUp(), RETRY_MS);
    }
    if (isLive !== this._isLive) {
      this._isLive = isLive;
      this._watchers.forEach(watcher => {
        watcher(isLive);
      });
    }
  }

  private _tell(topics: ReadonlySet<string> | null): void {
    [...this._listeners].forEach(listener => {
      listener(topics);
    });
  }

  private async _ask<T>(method: Method, path: string, query: Query, body?: unknown, signal?: AbortSignal): Promise<T> {
    let answer: Answer;
    try {
      answer = await this._transport.request(method, path, query, body, signal);
    } catch (error) {
      // one that was given up was told as silence, and the next may have been answered since
      if (!signal?.aborted) {
        this._connected(false);
      }
      throw new ApiError(0, NO_ANSWER, error instanceof Error ? error.message : String(error));
    }
    if (answer.status >= 400) {
      const problem = answer.body as { title?: string; detail?: string; message?: string } | null;
      throw new ApiError(
        answer.status,
        problem?.title ?? `Status ${String(answer.status)}`,
        problem?.detail ?? problem?.message ?? ''
      );
    }
    return answer.body as T;
  }
}

/** A path with its parts quoted: `` path`/groups/${name}/commits` ``. */
export function path(texts: TemplateStringsArray, ...parts: (string | number)[]): string {
  return texts.reduce((made, text, index) => made + encodeURIComponent(String(parts[index - 1] ?? '')) + text);
}

/** A query as it stands after the question mark; lists repeat their name, empty values are left out. */
export function queryText(query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) {
      value.forEach(each => {
        parameters.append(name, each);
      });
    } else if (value !== null && value !== undefined && value !== '') {
      parameters.set(name, String(value));
    }
  }
  return parameters.toString();
}

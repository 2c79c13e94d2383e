/** What every screen is given, whatever page it is on. */
import { createContext, useCallback, useContext, useEffect, useRef, useState } from 'react';
import { ApiError, type Api } from './api/client';
import type { Translator } from './translate';

export type DetailKind = 'group' | 'dataset' | 'run' | 'study' | 'model' | 'compare' | 'lineage';

export interface AppContext {
  api: Api;
  trans: Translator;
  /** Opens a detail view. Ids: `teams@1`, `delays@1`, a run's id, a model's name, ids of runs with commas, `group:teams@1`. */
  open: (kind: DetailKind, id: string) => void;
  /** Puts code into a new cell below the active one; null where there is no notebook. */
  insertCode: ((code: string) => void) | null;
  copy: (text: string) => void;
  confirm: (title: string, body: string, accept: string) => Promise<boolean>;
  notify: (message: string, kind: 'info' | 'error', action?: { label: string; run: () => void }) => void;
  /** Opens a page of the server, below its base URL. */
  openPage: (path: string) => void;
  isReadOnly: boolean;
}

export const AppProvider = createContext<AppContext | null>(null);

export function useApp(): AppContext {
  const app = useContext(AppProvider);
  if (!app) {
    throw new Error('a screen needs an AppProvider around it');
  }
  return app;
}

export interface Asked<T> {
  /** The last answer; stays while a newer one is awaited, so that nothing flashes. */
  data: T | null;
  error: ApiError | null;
  isLoading: boolean;
  retry: () => void;
}

/** Whether somebody sees a screen: one that is hidden asks nothing, and asks once when it is shown again. */
export const AwakeContext = createContext(true);

export function useAwake(): boolean {
  return useContext(AwakeContext);
}

/** Topics, which may depend on the last answer. */
type Topics<T> = string[] | ((data: T | null) => string[]);

interface Told<T> {
  key: string;
  data: T | null;
  error: ApiError | null;
  isLoading: boolean;
}

/**
 * Ask the API, and ask again whenever one of some topics changes.
 *
 * @param key - what is asked, as text: another key is another question, whose first answer is awaited anew.
 * @param rest_ms - what changes more often than this is asked only so often.
 */
export function useAsked<T>(key: string, ask: (api: Api) => Promise<T>, topics: Topics<T> = [], rest_ms = 0): Asked<T> {
  const { api } = useApp();
  const isAwake = useAwake();
  const [state, setState] = useState<Told<T>>({ key, data: null, error: null, isLoading: true });
  const latest = useRef(ask);
  latest.current = ask;
  const number = useRef(0);
  const isAsking = useRef(false);
  const isAgainWanted = useRef(false);

  const refresh = useCallback(() => {
    if (isAsking.current) {
      // what comes in a burst is asked once more when the answer is there
      isAgainWanted.current = true;
      return;
    }
    const mine = ++number.current;
    isAsking.current = true;
    latest
      .current(api)
      .then(
        data => {
          if (mine === number.current) {
            setState({ key, data, error: null, isLoading: false });
          }
        },
        (error: unknown) => {
          if (mine === number.current) {
            setState(before => ({
              key,
              data: before.key === key ? before.data : null,
              error: problemOf(error),
              isLoading: false
            }));
          }
        }
      )
      .finally(() => {
        if (mine === number.current) {
          isAsking.current = false;
          if (isAgainWanted.current) {
            isAgainWanted.current = false;
            refresh();
          }
        }
      });
  }, [api, key]);

  useEffect(() => {
    if (!isAwake) {
      return;
    }
    isAsking.current = false;
    isAgainWanted.current = false;
    setState(before => (before.key === key ? before : { ...before, key, error: null, isLoading: true }));
    refresh();
    const counter = number;
    return () => {
      // an answer that is still to come answers an old question
      counter.current++;
    };
  }, [key, isAwake, refresh]);

  const wanted = (typeof topics === 'function' ? topics(state.data) : topics).join(' ');
  useEffect(() => {
    if (!wanted || !isAwake) {
      return;
    }
    const { call, cancel } = seldom(refresh, rest_ms);
    const leave = api.onChange(wanted.split(' '), call);
    return () => {
      cancel();
      leave();
    };
  }, [api, wanted, isAwake, refresh, rest_ms]);

  return { data: state.data, error: state.error, isLoading: state.isLoading, retry: refresh };
}

/** An error as screens show it. */
export function problemOf(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, 'Something went wrong', String(error));
}

/** Calls at once if the last call is long enough ago, else when it is. */
function seldom(action: () => void, rest_ms: number): { call: () => void; cancel: () => void } {
  let last = -Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const now = () => {
    timer = undefined;
    last = Date.now();
    action();
  };
  return {
    call: () => {
      const wait_ms = last + rest_ms - Date.now();
      if (wait_ms <= 0) {
        now();
      } else {
        timer ??= setTimeout(now, wait_ms);
      }
    },
    cancel: () => {
      clearTimeout(timer);
    }
  };
}

/** Whether changes are heard; false while the server is away. */
export function useConnection(): boolean {
  const { api } = useApp();
  const [isLive, setIsLive] = useState(api.isLive);
  useEffect(() => {
    setIsLive(api.isLive);
    return api.onConnection(setIsLive);
  }, [api]);
  return isLive;
}

/** A value that is told only when it has rested for a moment, such as what somebody types: answers come within 100 ms. */
export function useRested<T>(value: T, rest_ms = 40): T {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => {
      setRested(value);
    }, rest_ms);
    return () => {
      clearTimeout(timer);
    };
  }, [value, rest_ms]);
  return rested;
}

/** Do something that changes the server, and tell the user if it cannot be done. */
export function useAction(): (action: () => Promise<unknown>) => Promise<boolean> {
  const { notify } = useApp();
  return useCallback(
    async action => {
      try {
        await action();
        return true;
      } catch (error) {
        notify(error instanceof Error ? error.message : String(error), 'error');
        return false;
      }
    },
    [notify]
  );
}

/** Following one run: what the notebook's live view shows, of a run that anybody started. */
import { useCallback, useEffect, useRef, useState } from 'react';
import { problemOf, useApp, useAwake, type Asked } from '../../app';
import { path, type ApiError } from '../../api/client';
import type { Live } from '../../api/types';
import { advance, type RunModel } from '../../model';
import { advanceStudy, type StudyModel } from '../../study';

/** When there last were news of a run, in seconds since the epoch by the page's clock, and whether its cluster tells them. */
export interface News {
  at_s: number;
  isHeard: boolean;
}

export interface Followed {
  run: RunModel | null;
  study: StudyModel | null;
  news: News | null;
  error: ApiError | null;
  retry: () => void;
}

interface Folded {
  run: RunModel | null;
  study: StudyModel | null;
}

type Shown = Folded & { news: News | null; error: ApiError | null };

const NOTHING: Shown = { run: null, study: null, news: null, error: null };

/** Fold an answer; null if messages before it were missed. */
export function folded(before: Folded, live: Live, now_s: number): Folded | null {
  let { run, study } = before;
  if (live.kind === 'run') {
    for (const update of live.updates) {
      run = advance(run, update, now_s);
      if (!run) {
        return null;
      }
    }
    return { run, study: null };
  }
  for (const update of live.updates) {
    study = advanceStudy(study, update, now_s);
    if (!study) {
      return null;
    }
  }
  return { run: null, study };
}

/** What an answer says about news, once it is folded. */
export function newsOf(live: Live, skew_s: number, now_s: number): News {
  const { is_heard: isHeard, news_at } = live;
  return { isHeard, at_s: isHeard || news_at === null ? now_s : news_at + skew_s };
}

// a run of which nothing is told is asked for all the same: its cluster may be out of reach
const ASK_AT_LEAST_EVERY_MS = 10_000;

/** Whether a run has no record: it may have begun a moment ago, and can be followed all the same. */
export function isBeginning(asked: Asked<unknown>): boolean {
  return asked.data === null && asked.error?.status === 404;
}

/** A run or study as it is now, kept up to date while the screen is open. */
export function useLive(runId: string): Followed {
  const { api } = useApp();
  const isAwake = useAwake();
  const [state, setState] = useState<Shown>(NOTHING);
  const known = useRef<Folded & { of: string; cursor: string }>({ of: runId, run: null, study: null, cursor: '' });
  const pull = useRef<() => void>(() => undefined);

  useEffect(() => {
    let isGone = false;
    let isAsking = false;
    let isAgainWanted = false;
    if (!isAwake) {
      return;
    }
    if (known.current.of !== runId) {
      known.current = { of: runId, run: null, study: null, cursor: '' };
      setState(NOTHING);
    }

    const ask = async () => {
      if (isAsking) {
        isAgainWanted = true;
        return;
      }
      isAsking = true;
      try {
        do {
          isAgainWanted = false;
          const live = await api.getPromptly<Live>(path`/runs/${runId}/live`, { cursor: known.current.cursor });
          if (isGone) {
            return;
          }
          const next = folded(known.current, live, Date.now() / 1000);
          known.current = next
            ? { of: runId, ...next, cursor: live.cursor }
            : { of: runId, run: null, study: null, cursor: '' };
          if (next) {
            const skew_s = (next.run ?? next.study)?.skew_s ?? 0;
            setState({ ...next, news: newsOf(live, skew_s, Date.now() / 1000), error: null });
          } else {
            // the next answer without a cursor tells everything
            isAgainWanted = true;
          }
        } while (isAgainWanted);
      } catch (error) {
        if (!isGone) {
          setState(before => ({ ...before, error: problemOf(error) }));
        }
      } finally {
        isAsking = false;
      }
    };
    pull.current = () => void ask();
    void ask();
    const leave = api.onChange([`run/${runId}`], () => void ask());
    const timer = setInterval(() => {
      const { run, study } = known.current;
      if (!(run ?? study)?.head.is_final) {
        void ask();
      }
    }, ASK_AT_LEAST_EVERY_MS);
    return () => {
      isGone = true;
      clearInterval(timer);
      leave();
    };
  }, [api, runId, isAwake]);

  const retry = useCallback(() => {
    pull.current();
  }, []);
  return { ...state, retry };
}

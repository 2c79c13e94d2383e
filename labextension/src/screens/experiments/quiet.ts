/** When news of a run have stopped: since when, and who is silent. */
import { useConnection } from '../../app';
import type { RunModel } from '../../model';
import type { StudyModel } from '../../study';
import type { News } from './live';

export interface Quiet {
  /** Seconds since the epoch, by the page's clock. */
  since_s: number;
  who: 'server' | 'cluster';
}

/** A record that grows is read now and then; one that does not for so long has nobody who writes it. */
const PATIENCE_S = 15;

export function useQuiet(news: News | null, isFinal: boolean): Quiet | null {
  const isConnected = useConnection();
  return isFinal || !news ? null : quietOf(news, isConnected, Date.now() / 1000);
}

export function quietOf(news: News, isConnected: boolean, now_s: number): Quiet | null {
  if (!isConnected) {
    return { since_s: news.at_s, who: 'server' };
  }
  return news.isHeard || now_s - news.at_s < PATIENCE_S ? null : { since_s: news.at_s, who: 'cluster' };
}

/** A run or study whose clock stands where news ended. */
export function halted<Model extends RunModel | StudyModel>(model: Model, since_s: number): Model {
  const ended_at = model.head.ended_at ?? since_s - model.skew_s;
  return { ...model, head: { ...model.head, ended_at, remaining_s: null } };
}

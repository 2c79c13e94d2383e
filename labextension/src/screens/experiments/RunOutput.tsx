/** The output of a cell that shows a run: live from the server where that knows it, else as the kernel tells it. */
import { useCallback, useEffect, useLayoutEffect, useRef, useState, type ReactNode } from 'react';
import { path, type Api } from '../../api/client';
import type { OutputKnown } from '../../api/types';
import { useApp, useAwake } from '../../app';
import { LiveView } from './LiveView';

/** What a notebook's file says of the run that an output shows. */
export interface RunTold {
  run_id: string;
  kind: 'run' | 'study';
  /** Grows with each page that the kernel draws. */
  number: number;
  display_id: string;
  /** What shows the kernel's own widget. */
  widget: Record<string, unknown>;
  report_html: string;
}

/** Puts something that is not React's into a place; returns what takes it out. */
export type Mount = (into: HTMLElement) => () => void;

interface Props {
  told: RunTold;
  /** The page that the kernel last drew. */
  page: Mount;
  /** The kernel's own widget, while this kernel has it. */
  live: Mount | null;
  /** Called when it turns out that the server knows the run, or that it does not. */
  onKnown: (isKnown: boolean) => void;
  /** Let the last page stand for the run. */
  keep: (data: Record<string, string>) => void;
}

const FIRST_ANSWER_MS = 2000;
const TRIES = 20;

export function RunOutput({ told, page, live, onKnown, keep }: Props): ReactNode {
  const { api, trans } = useApp();
  const known = useKnown(told.run_id);
  const isPatient = useDelay(FIRST_ANSWER_MS);
  const isKnown = known ? known.is_known : null;
  useEffect(() => {
    if (isKnown !== null) {
      onKnown(isKnown);
    }
  }, [isKnown, onKnown]);
  const end = useCallback(() => {
    void lastPage(api, told.run_id).then(data => {
      if (data) {
        keep(data);
      }
    });
  }, [api, told.run_id, keep]);
  // what a user has opened in the kernel's widget stays open: it gives way only when its kernel does
  const isWidget = useRef(false);
  const isServers = known?.is_known && (known.is_final || known.is_heard);
  isWidget.current = live !== null && (isWidget.current || (!isServers && !isPatient));
  if (known?.is_known && !isWidget.current && (isServers || !live)) {
    return <LiveView id={told.run_id} canStop={true} report={told.report_html} onEnd={end} />;
  }
  if (live && isWidget.current) {
    return <Hosted key="live" mount={live} />;
  }
  return (
    <>
      <Hosted key={told.number} mount={page} />
      {known && !live && <p className="hops-faint">{trans.__('As it was when the notebook was saved.')}</p>}
    </>
  );
}

async function lastPage(api: Api, runId: string): Promise<Record<string, string> | null> {
  try {
    const { is_final, data } = await api.get<OutputKnown>(path`/outputs/${runId}`);
    return is_final ? data : null;
  } catch {
    // the file keeps the page before; the next one to open it asks again
    return null;
  }
}

/** Whether the server knows a run: asked until news come from its cluster, since a run or its cluster may just begin. */
function useKnown(runId: string): OutputKnown | null {
  const { api } = useApp();
  const isAwake = useAwake();
  const [known, setKnown] = useState<OutputKnown | null>(null);
  useEffect(() => {
    if (!isAwake) {
      return;
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isGone = false;
    let tries = 0;
    const ask = async () => {
      let isSettled = false;
      try {
        const found = await api.get<OutputKnown>(path`/outputs/${runId}`);
        isSettled = found.is_final || found.is_heard;
        if (!isGone) {
          setKnown(found);
        }
      } catch {
        // what was known stays; a server that is away is asked again
      }
      if (!isGone && !isSettled) {
        timer = setTimeout(() => void ask(), ++tries < TRIES ? 500 : 10_000);
      }
    };
    void ask();
    return () => {
      isGone = true;
      clearTimeout(timer);
    };
  }, [api, runId, isAwake]);
  return known;
}

function useDelay(delay_ms: number): boolean {
  const [isWaiting, setWaiting] = useState(true);
  useEffect(() => {
    const timer = setTimeout(setWaiting, delay_ms, false);
    return () => {
      clearTimeout(timer);
    };
  }, [delay_ms]);
  return isWaiting;
}

function Hosted({ mount }: { mount: Mount }): ReactNode {
  const place = useRef<HTMLDivElement>(null);
  // what is hosted must leave before its place does
  useLayoutEffect(() => (place.current ? mount(place.current) : undefined), [mount]);
  return <div ref={place} />;
}

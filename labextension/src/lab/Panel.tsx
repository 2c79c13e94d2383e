/** The panel of the sidebar: four sections, one at a time. */
import { Signal, type ISignal } from '@lumino/signaling';
import type React from 'react';
import { useEffect, useRef, useState, type ComponentType, type KeyboardEvent, type ReactNode } from 'react';
import { AppProvider, AwakeContext, type AppContext } from '../app';
import { Guard } from '../parts/frame';
import { ClusterSection } from '../screens/ClusterSection';
import { ExperimentsSection } from '../screens/ExperimentsSection';
import { FeaturesSection } from '../screens/FeaturesSection';
import { ModelsSection } from '../screens/ModelsSection';
import type { Translator } from '../translate';
import { SeenWidget, useSource, type ISource } from './seen';

export const SECTIONS = ['features', 'experiments', 'models', 'cluster'] as const;
export type Section = (typeof SECTIONS)[number];

const SCREENS: Record<Section, ComponentType> = {
  features: FeaturesSection,
  experiments: ExperimentsSection,
  models: ModelsSection,
  cluster: ClusterSection
};

/** What is seen of the panel: which section, of which sections. */
export interface Shown {
  section: Section;
  sections: readonly Section[];
  /** Grows when the section's search shall get the focus. */
  focus: number;
}

export class HopsPanel extends SeenWidget {
  private readonly _app: ISource<AppContext>;
  private readonly _changed = new Signal<this, Shown>(this);
  private _shown: Shown = { section: 'features', sections: SECTIONS, focus: 0 };

  constructor(app: ISource<AppContext>) {
    super();
    this._app = app;
    this.addClass('hops-panel');
  }

  get shown(): Shown {
    return this._shown;
  }

  get changed(): ISignal<this, Shown> {
    return this._changed;
  }

  change(change: Partial<Shown>): void {
    this._shown = { ...this._shown, ...change };
    const { sections, section } = this._shown;
    if (!sections.includes(section)) {
      this._shown = { ...this._shown, section: sections[0] ?? 'features' };
    }
    this._changed.emit(this._shown);
  }

  protected override render(): React.JSX.Element {
    return <Sections panel={this} app={this._app} />;
  }
}

function Sections({ panel, app }: { panel: HopsPanel; app: ISource<AppContext> }): ReactNode {
  const context = useSource(app);
  const isSeen = useSource(panel.seen);
  const [shown, setShown] = useState(panel.shown);
  // a section is made when it is first seen, and keeps its search, filters and place from then on
  const [visited, setVisited] = useState<ReadonlySet<Section>>(new Set());
  const places = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const take = (_: HopsPanel, next: Shown) => {
      setShown(next);
    };
    setShown(panel.shown);
    panel.changed.connect(take);
    return () => {
      panel.changed.disconnect(take);
    };
  }, [panel]);
  useEffect(() => {
    if (isSeen) {
      setVisited(before => (before.has(shown.section) ? before : new Set(before).add(shown.section)));
    }
  }, [isSeen, shown.section]);
  const isThere = visited.has(shown.section);
  useEffect(() => {
    if (shown.focus && isThere) {
      places.current?.querySelector<HTMLInputElement>('[role="tabpanel"]:not([hidden]) input[type="search"]')?.focus();
    }
  }, [shown.focus, isThere]);
  const { trans } = context;
  const move = (event: KeyboardEvent<HTMLDivElement>) => {
    const next = neighbour(shown.sections, shown.section, event.key);
    if (next) {
      event.preventDefault();
      panel.change({ section: next });
      event.currentTarget.querySelector<HTMLElement>(`[data-section="${next}"]`)?.focus();
    }
  };
  return (
    <AppProvider.Provider value={context}>
      <div className="hops-sections">
        <div role="tablist" aria-label={trans.__('Sections')} className="hops-sectionlist" onKeyDown={move}>
          {shown.sections.map(name => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`hops-section-${name}`}
              data-section={name}
              aria-selected={name === shown.section}
              aria-controls={`hops-place-${name}`}
              tabIndex={name === shown.section ? 0 : -1}
              onClick={() => {
                panel.change({ section: name });
              }}
            >
              {titleOf(name, trans)}
            </button>
          ))}
        </div>
        <div ref={places} className="hops-sectionplaces">
          {shown.sections.map(name => {
            const Screen = SCREENS[name];
            return (
              <div
                key={name}
                role="tabpanel"
                id={`hops-place-${name}`}
                className="hops-sectionplace"
                aria-labelledby={`hops-section-${name}`}
                hidden={name !== shown.section}
              >
                {visited.has(name) && (
                  <AwakeContext.Provider value={isSeen && name === shown.section}>
                    <Guard trans={trans}>
                      <Screen />
                    </Guard>
                  </AwakeContext.Provider>
                )}
              </div>
            );
          })}
        </div>
      </div>
    </AppProvider.Provider>
  );
}

/** The section that a key leads to, if it leads anywhere. */
function neighbour(sections: readonly Section[], from: Section, key: string): Section | undefined {
  const at = sections.indexOf(from);
  const places: Record<string, number> = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1 };
  const place = places[key];
  return place === undefined ? undefined : sections[(place + sections.length) % sections.length];
}

export function titleOf(section: Section, trans: Translator): string {
  return {
    features: trans.__('Features'),
    experiments: trans.__('Experiments'),
    models: trans.__('Models'),
    cluster: trans.__('Cluster')
  }[section];
}

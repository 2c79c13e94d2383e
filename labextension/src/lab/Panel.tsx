/** The panel of the sidebar: four sections, one at a time. */
import { ReactWidget } from '@jupyterlab/ui-components';
import { Signal, type ISignal } from '@lumino/signaling';
import type React from 'react';
import { useEffect, useRef, useState, type ComponentType, type KeyboardEvent, type ReactNode } from 'react';
import { AppProvider, type AppContext } from '../app';
import { Guard } from '../parts/frame';
import { ClusterSection } from '../screens/ClusterSection';
import { ExperimentsSection } from '../screens/ExperimentsSection';
import { FeaturesSection } from '../screens/FeaturesSection';
import { ModelsSection } from '../screens/ModelsSection';
import type { Translator } from '../translate';

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

export class HopsPanel extends ReactWidget {
  private readonly _app: ISource<AppContext>;
  private readonly _changed = new Signal<this, Shown>(this);
  private _shown: Shown = { section: 'features', sections: SECTIONS, focus: 0 };
  private _wasSeen = false;

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

  protected override onBeforeShow(): void {
    // nothing is asked of the server before somebody looks
    if (!this._wasSeen) {
      this._wasSeen = true;
      this.update();
    }
  }

  protected override render(): React.JSX.Element {
    return this._wasSeen || this.isVisible ? <Sections panel={this} app={this._app} /> : <></>;
  }
}

/** A value that changes. */
export interface ISource<T> {
  current: T;
  changed: ISignal<unknown, T>;
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

function Sections({ panel, app }: { panel: HopsPanel; app: ISource<AppContext> }): ReactNode {
  const context = useSource(app);
  const [shown, setShown] = useState(panel.shown);
  const place = useRef<HTMLDivElement>(null);
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
    if (shown.focus) {
      place.current?.querySelector<HTMLInputElement>('input[type="search"]')?.focus();
    }
  }, [shown.focus]);
  const { trans } = context;
  const Screen = SCREENS[shown.section];
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
              aria-controls="hops-section"
              tabIndex={name === shown.section ? 0 : -1}
              onClick={() => {
                panel.change({ section: name });
              }}
            >
              {titleOf(name, trans)}
            </button>
          ))}
        </div>
        <div
          ref={place}
          role="tabpanel"
          id="hops-section"
          className="hops-sectionplace"
          aria-labelledby={`hops-section-${shown.section}`}
        >
          <Guard key={shown.section} trans={trans}>
            <Screen />
          </Guard>
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

/** Detail views of the main area; each is loaded when first opened. */
import { ReactWidget } from '@jupyterlab/ui-components';
import type React from 'react';
import { lazy, Suspense, type ComponentType, type ReactNode } from 'react';
import { AppProvider, type AppContext, type DetailKind } from '../app';
import { Guard } from '../parts/frame';
import { useSource, type ISource } from './Panel';

const SCREENS: Record<DetailKind, ComponentType<{ id: string }>> = {
  group: lazy(() => import('../screens/GroupDetail')),
  dataset: lazy(() => import('../screens/DatasetDetail')),
  run: lazy(() => import('../screens/RunDetail')),
  study: lazy(() => import('../screens/StudyDetail')),
  model: lazy(() => import('../screens/ModelDetail')),
  compare: lazy(() => import('../screens/CompareDetail')),
  lineage: lazy(() => import('../screens/LineageDetail'))
};

export function isDetailKind(kind: unknown): kind is DetailKind {
  return typeof kind === 'string' && kind in SCREENS;
}

export class DetailWidget extends ReactWidget {
  readonly kind: DetailKind;
  readonly thing: string;
  private readonly _app: ISource<AppContext>;

  constructor(app: ISource<AppContext>, kind: DetailKind, thing: string) {
    super();
    this._app = app;
    this.kind = kind;
    this.thing = thing;
    this.addClass('hops-detail-widget');
  }

  protected override render(): React.JSX.Element {
    return <DetailScreen app={this._app} kind={this.kind} thing={this.thing} />;
  }
}

function DetailScreen(props: { app: ISource<AppContext>; kind: DetailKind; thing: string }): ReactNode {
  const context = useSource(props.app);
  const Screen = SCREENS[props.kind];
  return (
    <AppProvider.Provider value={context}>
      <Guard trans={context.trans}>
        <Suspense
          fallback={
            <div className="hops-loading" role="status">
              {context.trans.__('Loading…')}
            </div>
          }
        >
          <Screen id={props.thing} />
        </Suspense>
      </Guard>
    </AppProvider.Provider>
  );
}

/** Detail views of the main area; each is loaded when first opened. */
import type React from 'react';
import { lazy, Suspense, type ComponentType, type ReactNode } from 'react';
import { AppProvider, AwakeContext, type AppContext, type DetailKind } from '../app';
import { Guard } from '../parts/frame';
import { SeenWidget, useSource, type ISource } from './seen';

const SCREENS: Record<DetailKind, ComponentType<{ id: string }>> = {
  group: lazy(() => import('../screens/GroupDetail')),
  dataset: lazy(() => import('../screens/DatasetDetail')),
  run: lazy(() => import('../screens/RunDetail')),
  study: lazy(() => import('../screens/RunDetail')),
  model: lazy(() => import('../screens/ModelDetail')),
  compare: lazy(() => import('../screens/CompareDetail')),
  lineage: lazy(() => import('../screens/LineageDetail'))
};

export function isDetailKind(kind: unknown): kind is DetailKind {
  return typeof kind === 'string' && kind in SCREENS;
}

export class DetailWidget extends SeenWidget {
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
    return <DetailScreen app={this._app} seen={this.seen} kind={this.kind} thing={this.thing} />;
  }
}

interface DetailProps {
  app: ISource<AppContext>;
  seen: ISource<boolean>;
  kind: DetailKind;
  thing: string;
}

function DetailScreen(props: DetailProps): ReactNode {
  const context = useSource(props.app);
  const isSeen = useSource(props.seen);
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
          <AwakeContext.Provider value={isSeen}>
            <Screen id={props.thing} />
          </AwakeContext.Provider>
        </Suspense>
      </Guard>
    </AppProvider.Provider>
  );
}

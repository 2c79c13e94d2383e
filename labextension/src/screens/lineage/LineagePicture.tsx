/** The picture of lineage, walked by choosing nodes. */
import { useEffect, useMemo, useState, type ReactNode } from 'react';
import { useApp, useAsked } from '../../app';
import type { Lineage, NodeKind } from '../../api/types';
import { Loaded } from '../../parts/frame';
import { Age, Line, plain } from '../../parts/text';
import { edgePath, layout, NODE } from './layout';

interface Focus {
  kind: NodeKind;
  name: string;
}

export function LineagePicture({ kind, name }: Focus): ReactNode {
  const { trans, open } = useApp();
  const [focus, setFocus] = useState<Focus>({ kind, name });
  useEffect(() => {
    setFocus({ kind, name });
  }, [kind, name]);
  const asked = useAsked(`lineage ${focus.kind} ${focus.name}`, api => api.get<Lineage>('/lineage', { ...focus }), [
    'features',
    'models'
  ]);
  return (
    <Loaded asked={asked}>
      {graph => (
        <div className="hops-stack">
          <div className="hops-headline">
            <button
              type="button"
              className="hops-button hops-primary"
              onClick={() => {
                const isModel = focus.kind === 'model';
                open(focus.kind, isModel ? focus.name.replace(/\/[^/]*$/, '') : focus.name);
              }}
            >
              {trans.__('Open %1', plain(graph.nodes.find(node => node.id === graph.focus)?.label ?? focus.name, 60))}
            </button>
            {graph.is_cut && <span className="hops-faint">{trans.__('There is more than can be shown.')}</span>}
            {graph.nodes.length === 1 && (
              <span className="hops-faint">
                {trans.__('Nothing was made from it, and it was made from nothing that is recorded.')}
              </span>
            )}
          </div>
          <Picture graph={graph} onFocus={setFocus} />
        </div>
      )}
    </Loaded>
  );
}

function Picture({ graph, onFocus }: { graph: Lineage; onFocus: (focus: Focus) => void }): ReactNode {
  const { trans } = useApp();
  const { placed, columns, width, height } = useMemo(() => layout(graph), [graph]);
  const titles: Record<NodeKind, string> = {
    group: trans.__('Feature groups'),
    dataset: trans.__('Training datasets'),
    run: trans.__('Runs'),
    model: trans.__('Models')
  };
  return (
    <div className="hops-scroll">
      <div className="hops-lineage" style={{ width, height: height + 28 }}>
        {columns.map(column => (
          <div key={column.kind} className="hops-lineage-title" style={{ left: column.x, width: NODE.width }}>
            {titles[column.kind]}
          </div>
        ))}
        <svg width={width} height={height} style={{ top: 28 }} role="presentation">
          {graph.edges.map(edge => {
            const [from, to] = [placed.get(edge.source), placed.get(edge.target)];
            return from && to ? (
              <path key={`${edge.source} ${edge.target}`} d={edgePath(from, to)}>
                <title>
                  {[
                    ...(edge.commit === null ? [] : [trans.__('commit %1', edge.commit)]),
                    plain(edge.features.join(', '), 500)
                  ].join(': ')}
                </title>
              </path>
            ) : null;
          })}
        </svg>
        {[...placed.values()].map(({ node, x, y }) => (
          <button
            key={node.id}
            type="button"
            className={`hops-node hops-node-${node.kind}${node.id === graph.focus ? ' hops-node-focus' : ''}`}
            style={{ left: x, top: y + 28, width: NODE.width, height: NODE.height }}
            aria-current={node.id === graph.focus}
            disabled={node.at === null}
            onClick={() => {
              onFocus({ kind: node.kind, name: node.name });
            }}
          >
            <Line text={node.label} className="hops-strong" />
            {node.at === null ? (
              <span className="hops-faint">{trans.__('gone')}</span>
            ) : (
              <span>
                {node.state && (
                  <i
                    className={`hops-light hops-light-${plain(node.state)}`}
                    role="img"
                    aria-label={plain(node.state)}
                  />
                )}{' '}
                {node.at ? <Age at={node.at} /> : null}
              </span>
            )}
          </button>
        ))}
      </div>
    </div>
  );
}

/** Registered models, last changed first. */
import { useState, type ReactNode } from 'react';
import { useApp, useRested } from '../app';
import type { ModelRow, Page } from '../api/types';
import { Connection, Empty, Loaded, Snippet } from '../parts/frame';
import { Rows } from '../parts/grid';
import { usePages } from '../parts/paged';
import { Age, Line } from '../parts/text';
import { useNow } from './experiments/useNow';

const EXAMPLE = `%%distributed -n 2 --register digits
model.fit(x, y, epochs=5)`;

export function ModelsSection(): ReactNode {
  const { trans, open } = useApp();
  const now = useNow();
  const [text, setText] = useState('');
  const rested = useRested(text);
  const models = usePages<ModelRow>(
    `models ${rested}`,
    async (api, offset, limit) => {
      const page = await api.get<Page<ModelRow>>('/models', { text: rested, offset, limit });
      return { items: page.items, hasMore: page.total > offset + page.items.length };
    },
    ['models'],
    model => model.name
  );
  return (
    <section className="hops-section" aria-label={trans.__('Models')}>
      <Connection />
      <div className="hops-filters">
        <input
          type="search"
          className="hops-input"
          placeholder={trans.__('Search models')}
          aria-label={trans.__('Search models')}
          value={text}
          onChange={event => {
            setText(event.target.value);
          }}
        />
      </div>
      <Loaded asked={models}>
        {items =>
          items.length ? (
            <Rows
              items={items}
              height={44}
              label={trans.__('Models')}
              keyOf={model => model.name}
              onEnd={models.more}
              onSee={models.see}
              onOpen={model => {
                open('model', model.name);
              }}
              render={model => (
                <div className="hops-group">
                  <div className="hops-group-head">
                    <Line text={model.name} className="hops-strong" />
                    <span className="hops-chip">{`v${String(model.latest_version)}`}</span>
                    <span className="hops-spacer" />
                    <Age at={model.changed_at} now={now} />
                  </div>
                  <div className="hops-group-more hops-flush hops-faint">
                    {Object.entries(model.aliases).map(([alias, version]) => (
                      <span className="hops-chip" key={alias}>
                        <Line text={`${alias} → v${String(version)}`} />
                      </span>
                    ))}
                    <Line
                      text={model.description || (Object.keys(model.aliases).length ? '' : trans.__('no alias yet'))}
                    />
                  </div>
                </div>
              )}
            />
          ) : rested ? (
            <Empty title={trans.__('No model is called that')} />
          ) : (
            <Empty title={trans.__('No models yet')}>
              <p>{trans.__('A cell that is trained like this keeps its model as a version:')}</p>
              <Snippet code={EXAMPLE} />
            </Empty>
          )
        }
      </Loaded>
    </section>
  );
}

export default ModelsSection;

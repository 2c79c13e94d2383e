/** Feature groups, their features, and training datasets; searched as one types. */
import { useState, type ReactNode } from 'react';
import { useApp, useAsked, useRested } from '../app';
import { path } from '../api/client';
import type { GroupDetail, GroupRow, Hit, Page } from '../api/types';
import { whole } from '../format';
import { ChosenBar, useChosen, type Chosen } from '../parts/chosen';
import { Connection, Empty, Loaded, Problem, Snippet } from '../parts/frame';
import { Rows } from '../parts/grid';
import { usePages } from '../parts/paged';
import { Age, Line, Marked, plain } from '../parts/text';
import { getCode } from './features/code';
import { Datasets } from './features/Datasets';
import { dragCode, FeatureLine } from './features/FeatureLine';
import { useNow } from './experiments/useNow';

const ROW_HEIGHT = 44;
const HIT_HEIGHT = 40;

const EXAMPLE = `%features save df --group teams --key team_id`;

type Choosing = Pick<Chosen, 'chosen' | 'choose'>;

export function FeaturesSection(): ReactNode {
  const app = useApp();
  const { trans } = app;
  const [text, setText] = useState('');
  const rested = useRested(text.trim());
  const selection = useChosen();
  const { chosen, choose } = selection;
  return (
    <section className="hops-section" aria-label={trans.__('Features')}>
      <Connection />
      <div className="hops-filters">
        <input
          type="search"
          className="hops-input"
          placeholder={trans.__('Search features')}
          aria-label={trans.__('Search names, tags and descriptions of features')}
          value={text}
          onChange={event => {
            setText(event.target.value);
          }}
        />
      </div>
      {rested ? <Hits text={rested} chosen={chosen} choose={choose} /> : <Groups chosen={chosen} choose={choose} />}
      <ChosenBar label={trans.__('Chosen features')} of={selection}>
        <button
          type="button"
          className="hops-button hops-primary"
          title={getCode(chosen)}
          onClick={() => {
            (app.insertCode ?? app.copy)(getCode(chosen));
          }}
        >
          {app.insertCode ? trans.__('Insert %features get') : trans.__('Copy %features get')}
        </button>
      </ChosenBar>
    </section>
  );
}

function Hits({ text, chosen, choose }: { text: string } & Choosing): ReactNode {
  const { trans, open } = useApp();
  const hits = usePages<Hit>(
    `search ${text}`,
    async (api, offset, limit) => {
      const page = await api.get<Page<Hit>>('/search', { text, offset, limit });
      return { items: page.items, hasMore: page.total > offset + page.items.length };
    },
    ['features'],
    keyOf
  );
  return (
    <Loaded asked={hits}>
      {items =>
        items.length ? (
          <Rows
            items={items}
            height={HIT_HEIGHT}
            label={trans.__('What was found')}
            keyOf={keyOf}
            onEnd={hits.more}
            onSee={hits.see}
            onOpen={hit => {
              open('group', `${hit.group}@${String(hit.version)}`);
            }}
            isChosen={hit => chosen.has(hit.full_name)}
            onChoose={hit => {
              if (hit.column) {
                choose(hit.full_name);
              }
            }}
            render={hit => <HitLine hit={hit} isChosen={chosen.has(hit.full_name)} choose={choose} />}
          />
        ) : (
          <Empty title={trans.__('Nothing is called or described like that')} />
        )
      }
    </Loaded>
  );
}

function keyOf(hit: Hit): string {
  return `${hit.full_name}@${String(hit.version)}`;
}

function HitLine({
  hit,
  isChosen,
  choose
}: {
  hit: Hit;
  isChosen: boolean;
  choose: (name: string) => void;
}): ReactNode {
  const { trans } = useApp();
  const name = hit.column || hit.group;
  const isName = hit.where === 'name';
  return (
    <div
      className="hops-hit"
      draggable={Boolean(hit.column)}
      onDragStart={event => {
        dragCode(event, getCode([hit.full_name]));
      }}
    >
      <div className="hops-hit-head">
        {hit.column ? (
          <input
            type="checkbox"
            tabIndex={-1}
            checked={isChosen}
            aria-label={trans.__('Choose %1', hit.full_name)}
            onChange={() => {
              choose(hit.full_name);
            }}
          />
        ) : (
          <span className="hops-chip">{trans.__('group')}</span>
        )}
        {isName ? <Marked text={hit.text} start={hit.start} end={hit.end} /> : <Line text={name} />}
        <span className="hops-spacer" />
        <span className="hops-faint hops-type">{plain(hit.type, 30)}</span>
      </div>
      <div className="hops-hit-more hops-faint">
        {isName ? (
          <Line text={hit.column ? hit.group : hit.description} />
        ) : (
          <Marked text={hit.text} start={hit.start} end={hit.end} />
        )}
      </div>
    </div>
  );
}

function Groups({ chosen, choose }: Choosing): ReactNode {
  const { trans, open } = useApp();
  const now = useNow();
  const [unfolded, setUnfolded] = useState<string | null>(null);
  const groups = usePages<GroupRow>(
    'groups',
    async (api, offset, limit) => {
      const page = await api.get<Page<GroupRow>>('/groups', { offset, limit });
      return { items: page.items, hasMore: page.total > offset + page.items.length };
    },
    ['features'],
    group => group.name
  );
  return (
    <>
      <Loaded asked={groups}>
        {items =>
          items.length ? (
            <>
              <Rows
                items={items}
                height={ROW_HEIGHT}
                label={trans.__('Feature groups')}
                keyOf={group => group.name}
                onEnd={groups.more}
                onSee={groups.see}
                onOpen={group => {
                  open('group', group.full_name);
                }}
                isChosen={group => group.name === unfolded}
                onChoose={group => {
                  setUnfolded(unfolded === group.name ? null : group.name);
                }}
                render={group => (
                  <div className="hops-group">
                    <div className="hops-group-head">
                      <button
                        type="button"
                        className="hops-fold-button"
                        tabIndex={-1}
                        aria-expanded={unfolded === group.name}
                        aria-label={trans.__('Features of %1', group.name)}
                        onClick={() => {
                          setUnfolded(unfolded === group.name ? null : group.name);
                        }}
                      >
                        {unfolded === group.name ? '▾' : '▸'}
                      </button>
                      <Line text={group.name} className="hops-strong" />
                      <span className="hops-chip">{`v${String(group.version)}`}</span>
                      <span className="hops-spacer" />
                      <Age at={group.updated_at} now={now} />
                    </div>
                    <div className="hops-group-more hops-faint">
                      <span className="hops-figure">{trans.__('%1 rows', whole(group.rows))}</span>
                      <Line text={group.description} />
                    </div>
                  </div>
                )}
              />
              {unfolded !== null && <Unfolded key={unfolded} name={unfolded} chosen={chosen} choose={choose} />}
            </>
          ) : (
            <Empty title={trans.__('No features yet')}>
              <p>{trans.__('Save a table of a notebook as a feature group:')}</p>
              <Snippet code={EXAMPLE} />
            </Empty>
          )
        }
      </Loaded>
      <Datasets />
    </>
  );
}

/** The features of the group that is unfolded. */
function Unfolded({ name, chosen, choose }: { name: string } & Choosing): ReactNode {
  const { trans } = useApp();
  const asked = useAsked(
    `features of ${name}`,
    api => api.get<GroupDetail>(path`/groups/${name}`, { fields: 'features' }),
    ['features']
  );
  if (asked.error && !asked.data) {
    return <Problem error={asked.error} retry={asked.retry} />;
  }
  const features = asked.data?.features ?? [];
  return (
    <div className="hops-drawer" role="region" aria-label={trans.__('Features of %1', name)}>
      <div className="hops-drawer-title">
        <Line text={name} className="hops-strong" />
      </div>
      <Rows
        items={features}
        height={features.some(feature => feature.description) ? 46 : 30}
        label={trans.__('Features of %1', name)}
        keyOf={feature => feature.name}
        isChosen={feature => chosen.has(`${name}.${feature.name}`)}
        onChoose={feature => {
          choose(`${name}.${feature.name}`);
        }}
        render={feature => (
          <FeatureLine
            group={name}
            feature={feature}
            isChosen={chosen.has(`${name}.${feature.name}`)}
            onChoose={() => {
              choose(`${name}.${feature.name}`);
            }}
          />
        )}
      />
    </div>
  );
}

export default FeaturesSection;

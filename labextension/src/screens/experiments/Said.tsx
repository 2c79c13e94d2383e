/** What users say of a run: a note and tags, which they change here. */
import { useState, type ReactNode } from 'react';
import { useAction, useApp } from '../../app';
import { path } from '../../api/client';
import type { RunRow } from '../../api/types';
import { Doing } from '../../parts/doing';
import { plain } from '../../parts/text';

export function Said({ run }: { run: RunRow }): ReactNode {
  const { trans, isReadOnly } = useApp();
  const [isEditing, setEditing] = useState(false);
  if (isEditing) {
    return (
      <Editor
        run={run}
        onEnd={() => {
          setEditing(false);
        }}
      />
    );
  }
  const isEmpty = !run.note && !Object.keys(run.tags).length;
  return (
    <div className="hops-said">
      <Tags tags={run.tags} />
      {run.note && <p className="hops-note">{plain(run.note, 5000)}</p>}
      {!isReadOnly && (
        <button
          type="button"
          className="hops-link"
          onClick={() => {
            setEditing(true);
          }}
        >
          {isEmpty ? trans.__('Add a note or tags') : trans.__('Edit note and tags')}
        </button>
      )}
    </div>
  );
}

/** Tags as chips; one without a value is its name. */
export function Tags({ tags }: { tags: Record<string, string> }): ReactNode {
  return Object.entries(tags).map(([name, value]) => (
    <span key={name} className="hops-chip">
      <bdi>{plain(value ? `${name}: ${value}` : name, 60)}</bdi>
    </span>
  ));
}

function Editor({ run, onEnd }: { run: RunRow; onEnd: () => void }): ReactNode {
  const { trans, api } = useApp();
  const act = useAction();
  const [note, setNote] = useState(run.note);
  const [text, setText] = useState(textOf(run.tags));
  const save = async () => {
    await act(async () => {
      await api.patch(path`/runs/${run.run_id}`, { note, tags: changes(run.tags, tagsOf(text)) });
      onEnd();
    });
  };
  return (
    <form
      className="hops-form hops-stack"
      onSubmit={event => {
        event.preventDefault();
        void save();
      }}
    >
      <textarea
        className="hops-input"
        rows={3}
        maxLength={5000}
        aria-label={trans.__('Note')}
        placeholder={trans.__('Note')}
        value={note}
        onChange={event => {
          setNote(event.target.value);
        }}
      />
      <input
        className="hops-input"
        aria-label={trans.__('Tags')}
        placeholder={trans.__('Tags: baseline, author: ada')}
        value={text}
        onChange={event => {
          setText(event.target.value);
        }}
      />
      <div className="hops-actions">
        <Doing label={trans.__('Save')} doing={trans.__('Saving…')} className="hops-primary" onClick={save} />
        <button type="button" className="hops-button" onClick={onEnd}>
          {trans.__('Cancel')}
        </button>
      </div>
    </form>
  );
}

export function textOf(tags: Record<string, string>): string {
  return Object.entries(tags)
    .map(([name, value]) => (value ? `${name}: ${value}` : name))
    .join(', ');
}

/** Tags as they are typed: names with commas between, a value after a colon. */
export function tagsOf(text: string): Record<string, string> {
  const parts = text.split(',').map(part => {
    const [name = '', ...value] = part.split(':');
    return [name.trim(), value.join(':').trim()] as const;
  });
  return Object.fromEntries(parts.filter(([name]) => name));
}

/** What is to be asked for: the tags that are new or other, and null for those that are gone. */
export function changes(before: Record<string, string>, after: Record<string, string>): Record<string, string | null> {
  const gone = Object.keys(before).filter(name => !(name in after));
  const fresh = Object.entries(after).filter(([name, value]) => before[name] !== value);
  return Object.fromEntries<string | null>([...gone.map(name => [name, null] as const), ...fresh]);
}

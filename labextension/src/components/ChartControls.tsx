import type { ReactNode } from 'react';
import type { Axis } from '../charts';
import { type Translator, useTranslator } from '../translate';

/** How curves are drawn; chosen by the user for all charts of a view. */
export interface ChartOptions {
  axis: Axis;
  isLog: boolean;
  /** Weight of earlier points, from 0 (none) to below 1. */
  smoothing: number;
}

export const PLAIN: ChartOptions = { axis: '', isLog: false, smoothing: 0 };

interface Props {
  options: ChartOptions;
  onChange: (options: ChartOptions) => void;
  /** Those that make sense here. */
  axes: Axis[];
}

/** The choices above charts: axis, scale, smoothing. */
export function ChartControls({ options, onChange, axes }: Props): ReactNode {
  const trans = useTranslator();
  // of two, time is or is not
  const isChoice = axes.length > 2;
  return (
    <div className="hops-chart-controls hops-faint" role="group" aria-label={trans.__('How curves are drawn')}>
      {isChoice ? (
        <label>
          {trans.__('axis')}{' '}
          <select
            value={options.axis}
            onChange={event => {
              onChange({ ...options, axis: event.target.value as Axis });
            }}
          >
            {axes.map(axis => (
              <option key={axis} value={axis}>
                {axisName(axis, trans)}
              </option>
            ))}
          </select>
        </label>
      ) : (
        <label>
          <input
            type="checkbox"
            checked={options.axis === 'time'}
            onChange={event => {
              onChange({ ...options, axis: event.target.checked ? 'time' : '' });
            }}
          />{' '}
          {trans.__('by time')}
        </label>
      )}
      <label>
        <input
          type="checkbox"
          checked={options.isLog}
          onChange={event => {
            onChange({ ...options, isLog: event.target.checked });
          }}
        />{' '}
        {trans.__('log')}
      </label>
      <label>
        {trans.__('smooth')}{' '}
        <input
          type="range"
          min={0}
          max={0.98}
          step={0.02}
          value={options.smoothing}
          aria-valuetext={String(options.smoothing)}
          onChange={event => {
            onChange({ ...options, smoothing: Number(event.target.value) });
          }}
        />
      </label>
    </div>
  );
}

function axisName(axis: Axis, trans: Translator): string {
  return axis === '' ? trans.__('epoch') : axis === 'step' ? trans.__('step') : trans.__('time');
}

import { type ReactNode, useMemo, useState } from 'react';
import { charts, fits } from '../charts';
import type { Curve } from '../model';
import { useTranslator } from '../translate';
import { ChartControls, PLAIN } from './ChartControls';
import { ChartView } from './ChartView';

interface Props {
  curves: Record<string, Curve>;
}

/** The curves of the newest fit, or of another that the user chose. */
export function Charts({ curves }: Props): ReactNode {
  const trans = useTranslator();
  const [fit, setFit] = useState<number | null>(null);
  const [options, setOptions] = useState(PLAIN);
  const all = useMemo(() => Object.values(curves), [curves]);
  const numbers = useMemo(() => fits(all), [all]);
  const shown = useMemo(() => charts(all, fit ?? Infinity, options.axis), [all, fit, options.axis]);
  const last = numbers.at(-1);
  if (last === undefined) {
    return null;
  }
  return (
    <section className="hops-curves" aria-label={trans.__('Curves')}>
      <ChartControls options={options} onChange={setOptions} axes={['', 'step', 'time']} />
      {numbers.length > 1 && (
        <label className="hops-faint">
          {trans.__('fit')}{' '}
          <select
            value={fit ?? ''}
            onChange={event => {
              setFit(event.target.value ? Number(event.target.value) : null);
            }}
          >
            <option value="">{trans.__('%1 (newest)', last)}</option>
            {numbers.slice(0, -1).map(number => (
              <option key={number}>{number}</option>
            ))}
          </select>
        </label>
      )}
      <div className="hops-charts">
        {shown.map(chart => (
          <ChartView key={chart.title} chart={chart} options={options} />
        ))}
      </div>
    </section>
  );
}

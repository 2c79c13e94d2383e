import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import uPlot from 'uplot';
import { align, smoothed, type Aligned, type Chart } from '../charts';
import { duration, figure, whole } from '../format';
import { type Translator, useTranslator } from '../translate';
import { PLAIN, type ChartOptions } from './ChartControls';
import { useThemeChanges } from './theme';

interface Props {
  chart: Chart;
  options?: ChartOptions;
}

export const COLOURS = ['#3b82d6', '#e8853a', '#2fa36b', '#a46ad0', '#d35468', '#4aa5b8', '#b08a2e', '#8a8f98'];
const HEIGHT = 160;
/** Distances between marks on the horizontal axis: epochs and steps are whole. */
const WHOLE_STEPS = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map(digit => digit * 10 ** power)).flat();

const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** One metric: title, a legend that follows the pointer, and the curves. */
export function ChartView({ chart, options = PLAIN }: Props): ReactNode {
  const trans = useTranslator();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const theme = useThemeChanges();
  const data = useMemo(() => align(chart.lines), [chart]);
  const isLog = options.isLog && data.slice(1).some(values => values.some(value => (value ?? 0) > 0));
  const drawn = useMemo(() => drawnOf(data, options.smoothing, isLog), [data, options.smoothing, isLog]);
  const latest = useRef(drawn);
  latest.current = drawn;
  const isSmooth = options.smoothing > 0;
  const shape = JSON.stringify([chart.unit, chart.lines.map(line => [line.label, line.colour]), isLog, isSmooth]);

  useEffect(() => {
    const node = box.current;
    if (!node) {
      return;
    }
    const created = new uPlot(
      plotOptions(node, chart, { isLog, isSmooth }, index => {
        setHovered(index);
      }),
      latest.current,
      node
    );
    plot.current = created;
    const observer = new ResizeObserver(() => {
      if (node.clientWidth) {
        created.setSize({ width: node.clientWidth, height: HEIGHT });
      }
    });
    observer.observe(node);
    return () => {
      observer.disconnect();
      created.destroy();
      plot.current = null;
    };
    // eslint-disable-next-line react-hooks/exhaustive-deps -- another shape or theme needs another plot; data do not
  }, [shape, theme]);

  useEffect(() => {
    plot.current?.setData(drawn);
  }, [drawn]);

  const at = hovered !== null && hovered < data[0].length ? hovered : null;
  return (
    <figure className="hops-chart" aria-label={described(chart, data)}>
      <figcaption>
        <bdi className="hops-chart-title">{chart.title}</bdi>
        <span className="hops-faint">{place(trans, chart, at === null ? null : (data[0][at] ?? null))}</span>
      </figcaption>
      <div className="hops-legend">
        {chart.lines.map((line, index) => (
          <span key={line.label}>
            <i style={{ background: COLOURS[line.colour ?? index] }} />
            <bdi>{line.label}</bdi> <b>{figure(at === null ? lastOf(data, index) : data[index + 1]?.[at])}</b>
          </span>
        ))}
      </div>
      <div ref={box} className="hops-plot" aria-hidden="true" />
    </figure>
  );
}

/** What the horizontal axis counts, and where on it the pointer is. */
function place(trans: Translator, chart: Chart, at: number | null): string {
  if (chart.unit === 'time') {
    return at === null ? trans.__('time') : duration(at);
  }
  if (chart.unit === 'epoch') {
    return at === null ? trans.__('epoch') : trans.__('epoch %1', whole(at));
  }
  return at === null ? trans.__('step') : trans.__('step %1', whole(at));
}

function lastOf(data: Aligned, line: number): number | null | undefined {
  return data[line + 1]?.findLast(value => value !== null && value !== undefined);
}

function described(chart: Chart, data: Aligned): string {
  return chart.lines.map((line, index) => `${line.label} ${figure(lastOf(data, index))}`).join(', ');
}

/** What is drawn: smooth lines over the true ones, without what a logarithmic scale has no place for. */
function drawnOf(data: Aligned, smoothing: number, isLog: boolean): Aligned {
  const [steps, ...lines] = data;
  const kept = isLog ? lines.map(values => values.map(value => ((value ?? 0) > 0 ? value : null))) : lines;
  return smoothing > 0 ? [steps, ...kept, ...kept.map(values => smoothed(values, smoothing))] : [steps, ...kept];
}

function plotOptions(
  node: HTMLElement,
  chart: Chart,
  { isLog, isSmooth }: { isLog: boolean; isSmooth: boolean },
  onHover: (index: number | null) => void
): uPlot.Options {
  const style = getComputedStyle(node);
  const ink = style.getPropertyValue('--hops-ink-faint');
  const grid = { stroke: style.getPropertyValue('--hops-grid'), width: 1 };
  const font = `10px ${style.fontFamily}`;
  const ground = style.getPropertyValue('--hops-ground');
  return {
    width: node.clientWidth || 300,
    height: HEIGHT,
    legend: { show: false },
    padding: [8, 10, 0, 0],
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 } },
    scales: {
      x: { time: false, range: (_, low, high) => (high > low ? [low, high] : [low - 0.5, low + 0.5]) },
      // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- logarithmic: its name is in uPlot's types alone
      y: isLog ? { distr: 3 } : {}
    },
    axes: [
      {
        stroke: ink,
        grid: { show: false },
        ticks: { show: false },
        font,
        size: 22,
        space: 46,
        ...(chart.unit === 'time'
          ? { incrs: TIMES, values: (_: uPlot, all: number[]) => all.map(duration) }
          : { incrs: WHOLE_STEPS })
      },
      {
        stroke: ink,
        grid,
        ticks: { show: false },
        font,
        size: widthOf,
        gap: 4,
        space: 28,
        values: (_, all) => marks(all).map(value => (value === null ? '' : axisFigure(value)))
      }
    ],
    series: [
      {},
      ...chart.lines.map((line, index) => ({
        ...styleOf(line.label, COLOURS[line.colour ?? index] ?? ink, ground),
        ...(isSmooth ? { alpha: 0.3, points: { show: false } } : {})
      })),
      ...(isSmooth
        ? chart.lines.map((line, index) => ({
            ...styleOf(line.label, COLOURS[line.colour ?? index] ?? ink, ground),
            points: { show: false }
          }))
        : [])
    ],
    hooks: {
      setCursor: [
        (plot: uPlot) => {
          onHover(plot.cursor.idx ?? null);
        }
      ]
    }
  };
}

/** Where marks are too close, uPlot has none. */
function marks(all: (number | null)[]): (number | null)[] {
  return all;
}

function styleOf(label: string, stroke: string, ground: string): uPlot.Series {
  return { label, stroke, width: 1.5, spanGaps: true, points: { size: 5, fill: ground } };
}

function axisFigure(value: number): string {
  const size = Math.abs(value);
  return size && (size < 1e-4 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(6)));
}

function widthOf(_: uPlot, values: string[] | null): number {
  return 12 + 6 * Math.max(3, ...(values ?? []).map(value => value.length));
}

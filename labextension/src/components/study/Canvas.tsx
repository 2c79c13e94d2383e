import { type ReactNode, useEffect, useRef } from 'react';
import { useThemeChanges } from '../theme';

/** Colours of the theme, and the size of what is drawn on, in CSS pixels. */
export interface Brush {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  ink: string;
  grid: string;
  ground: string;
  font: string;
}

interface Props {
  height: number;
  label: string;
  draw: (brush: Brush) => void;
  onClick?: (x: number, y: number) => void;
}

/** A drawing in one pass, again whenever its data, its size or the theme change; once a frame at most. */
export function Canvas({ height, label, draw, onClick }: Props): ReactNode {
  const canvas = useRef<HTMLCanvasElement>(null);
  const latest = useRef(draw);
  latest.current = draw;
  const theme = useThemeChanges();
  useEffect(() => {
    const node = canvas.current;
    if (!node) {
      return;
    }
    let frame = 0;
    const paint = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        paintOn(node, height, latest.current);
      });
    };
    const observer = new ResizeObserver(paint);
    observer.observe(node);
    paint();
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
    };
  }, [draw, height, theme]);
  return (
    <canvas
      ref={canvas}
      role="img"
      aria-label={label}
      style={{ width: '100%', height, display: 'block' }}
      onClick={event => {
        const box = event.currentTarget.getBoundingClientRect();
        onClick?.(event.clientX - box.left, event.clientY - box.top);
      }}
    />
  );
}

function paintOn(node: HTMLCanvasElement, height: number, draw: (brush: Brush) => void): void {
  const context = node.getContext('2d');
  const width = node.clientWidth;
  if (!context || !width) {
    return;
  }
  const ratio = window.devicePixelRatio || 1;
  node.width = width * ratio;
  node.height = height * ratio;
  context.scale(ratio, ratio);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(node);
  draw({
    context,
    width,
    height,
    ink: style.getPropertyValue('--hops-ink-faint'),
    grid: style.getPropertyValue('--hops-grid'),
    ground: style.getPropertyValue('--hops-ground'),
    font: `10px ${style.fontFamily}`
  });
}

/** Round numbers between two others, about `wanted` of them. */
export function ticks(low: number, high: number, wanted = 4): number[] {
  const rough = (high - low) / wanted;
  if (!(rough > 0)) {
    return [low];
  }
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(factor => factor * power).find(size => size >= rough * 0.999) ?? rough;
  const found: number[] = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) {
    found.push(Number((index * step).toPrecision(12)));
  }
  return found;
}

/** Powers of ten between two positive numbers; where there are few, also twice and five times them. */
export function logTicks(low: number, high: number): number[] {
  const powers = Array.from(
    { length: Math.floor(Math.log10(high)) - Math.floor(Math.log10(low)) + 1 },
    (_, index) => 10 ** (Math.floor(Math.log10(low)) + index)
  );
  const factors = powers.length > 3 ? [1] : [1, 2, 5];
  return powers
    .flatMap(power => factors.map(factor => Number((power * factor).toPrecision(12))))
    .filter(value => value >= low && value <= high);
}

export function axisFigure(value: number): string {
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

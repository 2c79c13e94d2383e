/** Figures as users read them; the same forms as `hops_magic/widgets/words.py`. */

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const rest = String(whole % 60).padStart(2, '0');
  return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined) {
    return '–';
  }
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) {
    return value.toExponential(3);
  }
  return size >= 1e4 ? whole(value) : String(Number(value.toPrecision(4)));
}

export function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function amount(bytes: number): string {
  let size = bytes;
  let unit = 'B';
  for (const larger of ['KiB', 'MiB', 'GiB', 'TiB']) {
    if (size < 1024) {
      break;
    }
    size /= 1024;
    unit = larger;
  }
  return `${size >= 100 || unit === 'B' ? size.toFixed(0) : size.toFixed(1)} ${unit}`;
}

/** A span of time: `93600` -> `1.08 d`. */
export function span(seconds: number): string {
  for (const [unit, length] of [
    ['d', 86_400],
    ['h', 3_600],
    ['min', 60]
  ] as const) {
    if (seconds >= length) {
      return `${String(Number((seconds / length).toPrecision(3)))} ${unit}`;
    }
  }
  return `${String(Number(seconds.toPrecision(3)))} s`;
}

/** A share: `0.00003829` -> `< 0.01 %`. */
export function percent(share: number): string {
  const hundredths = 100 * share;
  return hundredths > 0 && hundredths < 0.01 ? '< 0.01 %' : `${String(Number(hundredths.toPrecision(3)))} %`;
}

const ISO = /^(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2})(:\d{2})?(\.\d+)?(Z|[+-]\d{2}:\d{2})?$/;

/** A moment to the minute, as statistics tell it; whatever else is as it is: `2013-07-01T22:26:37.702Z` -> `2013-07-01 22:26`. */
export function moment(text: string): string {
  return text.replace(ISO, (_, day: string, minute: string) => (minute === '00:00' ? day : `${day} ${minute}`));
}

/** Text of ranks as a terminal would show it: colours kept, lines that rewrite themselves settled, the rest dropped. */
import type { OutputPart } from './model';

export interface Span {
  text: string;
  className: string;
}

const ESCAPE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[@-Z\\-_]?)/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
const COLOURS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];

/** Cut output into pieces of one look each. */
export function spans(parts: OutputPart[]): Span[] {
  const result: Span[] = [];
  for (const [stream, raw] of parts) {
    const base = stream === 'stderr' ? 'hops-stderr' : '';
    const text = settle(raw);
    let at = 0;
    let look = '';
    const push = (piece: string) => {
      const shown = piece.replace(CONTROL, '');
      if (shown) {
        result.push({ text: shown, className: [base, look].filter(Boolean).join(' ') });
      }
    };
    for (const match of text.matchAll(ESCAPE)) {
      push(text.slice(at, match.index));
      at = match.index + match[0].length;
      if (match[2] === 'm') {
        look = restyled(look, match[1] ?? '');
      }
    }
    push(text.slice(at));
  }
  return result;
}

function restyled(look: string, codes: string): string {
  let names = look.split(' ').filter(Boolean);
  const numbers = codes.split(';').map(Number);
  for (let index = 0; index < numbers.length; index++) {
    const code = numbers[index] ?? 0;
    const colour = COLOURS[code >= 90 ? code - 90 : code - 30];
    if (code === 0) {
      names = [];
    } else if (code === 1) {
      names = [...names.filter(name => name !== 'hops-bold'), 'hops-bold'];
    } else if (code === 22) {
      names = names.filter(name => name !== 'hops-bold');
    } else if (code === 39 || (colour && (code < 38 || code >= 90))) {
      names = names.filter(name => !name.startsWith('hops-ansi-'));
      names = colour && code !== 39 ? [...names, `hops-ansi-${colour}`] : names;
    } else if (code === 38 || code === 48) {
      // colours by number are followed by their numbers, which are no codes
      index += numbers[index + 1] === 5 ? 2 : 4;
    }
  }
  return names.join(' ');
}

/** Apply carriage returns and backspaces; such lines lose their colours. */
function settle(text: string): string {
  const lines = text.replaceAll('\r\n', '\n');
  if (!/[\r\b]/.test(lines)) {
    return lines;
  }
  return lines
    .split('\n')
    .map(line => (/[\r\b]/.test(line) ? overwritten(line.replace(ESCAPE, '')) : line))
    .join('\n');
}

function overwritten(line: string): string {
  return line
    .replace(/[\b]+/g, '\r')
    .split('\r')
    .reduce((shown, part) => part + shown.slice(part.length), '');
}

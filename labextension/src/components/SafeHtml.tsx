/** HTML of others, rebuilt from what cannot act; the same rules as `hops_magic/widgets/sanitize.py`. */
import { createElement, Fragment, type ReactNode, useMemo } from 'react';

const KEPT = new Set(
  (
    'abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ' +
    'mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var'
  ).split(' ')
);
const DROPPED_WITH_CONTENT = new Set(
  (
    'script style iframe object embed template svg math form textarea select title noscript noembed noframes xmp ' +
    'plaintext head video audio canvas'
  ).split(' ')
);
const ATTRIBUTES: Record<string, string> = {
  align: 'align',
  alt: 'alt',
  colspan: 'colSpan',
  dir: 'dir',
  height: 'height',
  rowspan: 'rowSpan',
  scope: 'scope',
  title: 'title',
  width: 'width'
};
const PICTURE = /^data:image\/(?:png|jpeg|gif);base64,/;

interface Props {
  html: string;
}

export function SafeHtml({ html }: Props): ReactNode {
  // a parsed document runs no script and loads nothing
  const nodes = useMemo(() => rebuild(new DOMParser().parseFromString(html, 'text/html').body.childNodes), [html]);
  return <div className="hops-html">{nodes}</div>;
}

function rebuild(nodes: Iterable<ChildNode>): ReactNode[] {
  return Array.from(nodes, (node, key) => {
    if (node.nodeType === 3) {
      return node.textContent;
    }
    if (!(node instanceof Element)) {
      return null;
    }
    const tag = node.tagName.toLowerCase();
    if (DROPPED_WITH_CONTENT.has(tag)) {
      return null;
    }
    const children = rebuild(node.childNodes);
    return KEPT.has(tag)
      ? createElement(tag, { key, ...attributes(node, tag) }, ...children)
      : createElement(Fragment, { key }, ...children);
  });
}

function attributes(element: Element, tag: string): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const { name, value } of element.attributes) {
    const property = ATTRIBUTES[name];
    if (property) {
      kept[property] = value;
    } else if (tag === 'img' && name === 'src' && PICTURE.test(value)) {
      kept['src'] = value;
    }
  }
  return kept;
}

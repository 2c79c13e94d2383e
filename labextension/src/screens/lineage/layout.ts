/** Where nodes stand: a column for each kind, in the order in which one is made from the other. Pure. */
import type { Lineage, NodeKind } from '../../api/types';

export const KINDS: NodeKind[] = ['group', 'dataset', 'run', 'model'];
export const NODE = { width: 190, height: 44, across: 36, down: 14 };

export interface Placed {
  node: Lineage['nodes'][number];
  x: number;
  y: number;
}

export interface Layout {
  placed: Map<string, Placed>;
  columns: { kind: NodeKind; x: number }[];
  width: number;
  height: number;
}

/** Kinds that are not there take no column; nodes of a column stand near those that they are joined to. */
export function layout(graph: Lineage): Layout {
  const kinds = KINDS.filter(kind => graph.nodes.some(node => node.kind === kind));
  const step = NODE.width + NODE.across;
  const placed = new Map<string, Placed>();
  const rank = new Map<string, number>();
  const columns = kinds.map((kind, index) => ({ kind, x: index * step }));
  for (const { kind, x } of columns) {
    const nodes = graph.nodes.filter(node => node.kind === kind);
    const wanted = (id: string) => {
      const before = graph.edges.filter(edge => edge.target === id).map(edge => rank.get(edge.source));
      const known = before.filter((place): place is number => place !== undefined);
      return known.length ? known.reduce((sum, place) => sum + place, 0) / known.length : Infinity;
    };
    const order = nodes
      .map(node => ({ node, at: wanted(node.id) }))
      .sort((a, b) => (a.at === b.at ? (a.node.at ?? 0) - (b.node.at ?? 0) : a.at - b.at));
    order.forEach(({ node }, index) => {
      rank.set(node.id, index);
      placed.set(node.id, { node, x, y: index * (NODE.height + NODE.down) });
    });
  }
  const most = Math.max(1, ...kinds.map(kind => graph.nodes.filter(node => node.kind === kind).length));
  return {
    placed,
    columns,
    width: kinds.length * step - NODE.across,
    height: most * (NODE.height + NODE.down) - NODE.down
  };
}

/** A curve from the right of one node to the left of another; nodes of one column are joined by an arc at their side. */
export function edgePath(from: Placed, to: Placed): string {
  const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x2, y2] = [to.x, to.y + NODE.height / 2];
  const bend = Math.max(30, (x2 - x1) / 2);
  return `M${String(x1)},${String(y1)} C${String(x1 + bend)},${String(y1)} ${String(x2 - bend)},${String(y2)} ${String(x2)},${String(y2)}`;
}

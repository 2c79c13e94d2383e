/** Lines of magics that the screens offer. */

const SAFE = /^[\w@%+=:,./*-]+$/;

/** A word as the magics read it back, whatever it holds: they split lines like a shell. */
export function quoted(word: string): string {
  return SAFE.test(word) ? word : `'${word.replace(/'/g, `'"'"'`)}'`;
}

/** `%features get` for some features, whose names are qualified. */
export function getCode(names: Iterable<string>): string {
  return `%features get ${[...names].map(quoted).join(' ')} --as df`;
}

/** How a group is named where its newest version is meant unless another is said. */
export function groupName(group: { name: string; version: number; versions: number[] }): string {
  const isNewest = group.version >= Math.max(...group.versions);
  return isNewest ? group.name : `${group.name}@${String(group.version)}`;
}

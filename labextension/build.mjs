// Bundles the widgets of the Python package, each within the budget of what a notebook has to load.
import { gzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { build } from 'esbuild';

// one file each, since a widget cannot load more later
const MAX_GZIPPED_BYTES = { study: 120_000, run: 120_000, board: 160_000, answer: 90_000 };
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

for (const [name, most] of Object.entries(MAX_GZIPPED_BYTES)) {
  const outfile = path.join(root, `hops_magic/widgets/static/${name}.js`);
  await build({
    entryPoints: [path.join(root, `labextension/widgets/${name}.tsx`)],
    outfile,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    loader: { '.css': 'text' },
    define: { 'process.env.NODE_ENV': '"production"' },
    legalComments: 'inline',
    logLevel: 'warning'
  });
  const size = gzipSync(readFileSync(outfile)).length;
  if (size > most) {
    throw new Error(`${outfile} has ${size} bytes gzipped, more than ${most}: load something later`);
  }
}

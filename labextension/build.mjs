// Bundles the widgets of the Python package, each within the budget of what a notebook has to load.
import { gzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { build } from 'esbuild';

const MAX_GZIPPED_BYTES = 120_000;
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

for (const name of ['study', 'run']) {
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
  if (size > MAX_GZIPPED_BYTES) {
    throw new Error(`${outfile} has ${size} bytes gzipped, more than ${MAX_GZIPPED_BYTES}: load something later`);
  }
}

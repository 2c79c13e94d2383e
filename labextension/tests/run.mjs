// Bundles the unit tests, which need no browser, and runs them with Node's own test runner.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import path from 'node:path';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
// inside the project, where the packages are found
const folder = mkdtempSync(path.join(here, '../../node_modules/.tests-'));
try {
  await build({
    entryPoints: readdirSync(here)
      .filter(name => /\.test\.tsx?$/.test(name))
      .map(name => path.join(here, name)),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    jsx: 'automatic',
    packages: 'external',
    loader: { '.css': 'text' },
    logLevel: 'warning'
  });
  const files = readdirSync(folder).map(name => path.join(folder, name));
  process.exitCode =
    spawnSync(process.execPath, ['--test', '--test-reporter=dot', ...files], { stdio: 'inherit' }).status ?? 1;
} finally {
  rmSync(folder, { recursive: true });
}

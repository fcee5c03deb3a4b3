"""The TypeScript SDK as users get it: packed, installed, imported, required, type-checked."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

import fastpaca
from tests.docs.pages import Page, pages
from tests.sdk.npm import ROOT, SDK, node, tsc
from tests.sdk.packages import with_fakes, with_packages

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
    assert not {"dependencies", "optionalDependencies"} & set(about)
    # Providers' packages are found if they are there, at any version, and never installed.
    peers = about["peerDependencies"]
    assert set(peers.values()) == {"*"}
    assert about["peerDependenciesMeta"] == {name: {"optional": True} for name in peers}
    assert peers.keys() <= about["devDependencies"].keys()
    for form in ("esm", "cjs"):
        assert f"dist/{form}/peers.d.ts" in names
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


PROVIDED = """
import { createClient } from 'fastpaca';
const ctx = await (createClient({ baseUrl: 'http://127.0.0.1:4000' })).context('formats');
type Is<A> = <T>() => T extends A ? 1 : 2;
type Same<A, B> = Is<A> extends Is<B> ? true : false;
const check = <A, B>(is: Same<A, B>): boolean => is;
const chat = await ctx.context({ format: 'openai-chat' });
const items = await ctx.context({ format: 'openai-responses' });
const claude = await ctx.context({ format: 'anthropic' });
const gemini = await ctx.context({ format: 'gemini' });
const bedrock = await ctx.context({ format: 'bedrock' });
const ui = await ctx.context({ format: 'ai-sdk' });
await ctx.append('Hi', { usage: { input_tokens: 1, output_tokens: 1 } });
await ctx.append({ role: 'user', content: 'Hi' });
await ctx.append([{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }]);
await ctx.append({ role: 'user', content: 'Hi' }, { format: 'anthropic' });
await ctx.append(chat.messages, { format: 'openai-chat' });
await ctx.append(items.messages, { format: 'openai-responses' });
await ctx.append(claude.messages, { format: 'anthropic' });
await ctx.append(gemini.messages, { format: 'gemini' });
await ctx.append(bedrock.messages, { format: 'bedrock' });
await ctx.append(ui.messages, { format: 'ai-sdk' });
// @ts-expect-error: no such format
await ctx.context({ format: 'openai' });
// @ts-expect-error: a parameter of formats
await ctx.context({ openCalls: 'drop' });
// @ts-expect-error: this is neither a message nor a response
await ctx.append({ text: 'Hi' });
"""

WITHOUT_PACKAGES = """
type Json = Record<string, unknown>;
check<(typeof chat.messages)[0], Json>(true);
check<(typeof items.messages)[0], Json>(true);
check<(typeof claude.messages)[0], Json>(true);
check<typeof claude.system, Json[]>(true);
check<(typeof gemini.messages)[0], Json>(true);
check<(typeof bedrock.messages)[0], Json>(true);
check<(typeof ui.messages)[0], Json>(true);
await ctx.append({ role: 'user', anything: 1 }, { format: 'gemini' });
"""

WITH_PACKAGES = """
import type { ResponseInputItem } from 'openai/resources/responses/responses';
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions';
import type { MessageParam, TextBlockParam } from '@anthropic-ai/sdk/resources/messages';
import type { Message } from '@aws-sdk/client-bedrock-runtime';
import type { Content } from '@google/genai' with { 'resolution-mode': 'import' };
import type { UIMessage } from 'ai' with { 'resolution-mode': 'import' };
check<(typeof chat.messages)[0], ChatCompletionMessageParam>(true);
check<(typeof items.messages)[0], ResponseInputItem>(true);
check<(typeof claude.messages)[0], MessageParam>(true);
check<typeof claude.system, TextBlockParam[]>(true);
check<(typeof gemini.messages)[0], Content>(true);
check<(typeof bedrock.messages)[0], Message>(true);
check<(typeof ui.messages)[0], UIMessage>(true);
// @ts-expect-error: no message of Gemini has such a key
await ctx.append({ role: 'user', anything: 1 }, { format: 'gemini' });
"""


def _checked_provided(folder: Path, script: str, module: str, form: str, *flags: str) -> None:
    body = PROVIDED.replace("const ctx", "export async function run() {\nconst ctx", 1) + "}\n"
    lines = script.splitlines(keepends=True)
    imports = "".join(line for line in lines if line.startswith("import "))
    rest = "".join(line for line in lines if not line.startswith("import "))
    file = folder / f"provided-{module}.{form}"
    file.write_text(imports + body.removesuffix("}\n") + rest + "}\n", encoding="utf-8")
    resolution = "bundler" if module == "preserve" else module
    common = ("--lib", "es2022,dom", "--types", "", "--ignoreConfig")
    modules = ("--module", module, "--moduleResolution", resolution)
    tsc(*CHECKED, *common, *modules, *flags, file.name, cwd=folder)


@pytest.mark.parametrize("module", ["node16", "preserve"])
@pytest.mark.parametrize("form", ["mts", "cts"])
def test_without_a_providers_package_its_messages_are_objects(
    module: str, form: str, project: Path
) -> None:
    """
    A strict project that has none of the packages is type-checked, declarations included.
    """
    _checked_provided(project, WITHOUT_PACKAGES, module, form)


@pytest.mark.parametrize("module", ["node16", "preserve"])
@pytest.mark.parametrize("form", ["mts", "cts"])
def test_with_a_providers_package_its_messages_are_the_packages_own(
    module: str, form: str, tarball: Path, tmp_path: Path
) -> None:
    """
    In a project that has the packages, the types of each format are exactly theirs.
    """
    folder = with_packages(tarball, tmp_path)
    # Their own declarations are not as strict as this.
    _checked_provided(folder, WITH_PACKAGES, module, form, "--skipLibCheck")


WITH_TYPESCRIPT = [
    page.name
    for page in [*pages(), Page(ROOT / "sdk/typescript/README.md")]
    if any(block.language == "ts" for block in page.blocks)
    and "<!-- program " not in page.text  # needs a provider; the tests of the program run it
]


def test_the_pages_of_the_client_have_typescript() -> None:
    """
    A first conversation and the pages about the client can be followed in TypeScript.
    """
    assert {"docs/quickstart.md", "docs/getting-started.md"} <= set(WITH_TYPESCRIPT)


@pytest.mark.parametrize("path", WITH_TYPESCRIPT)
def test_what_a_page_shows_runs(
    path: str, tarball: Path, fresh_node: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """
    The TypeScript of a page, pasted in its order into one strict module, is sound and runs.

    It is checked with the packages of providers, and runs with packages that need no network.
    """
    blocks = [block.text for block in Page(ROOT / path).blocks if block.language == "ts"]
    assert blocks
    name = path.replace("/", "-").removesuffix(".md") + ".mts"
    script = "\n".join(blocks)
    _run(with_fakes(tarball, tmp_path_factory.mktemp("run")), name, script, fresh_node)
    folder = with_packages(tarball, tmp_path_factory.mktemp("checked"))
    (folder / name).write_text(script, encoding="utf-8")
    flags = ("--module", "nodenext", "--lib", "es2022,dom", "--types", "", "--ignoreConfig")
    tsc(*CHECKED, *flags, "--skipLibCheck", name, cwd=folder)


def _run(project: Path, name: str, script: str, address: str) -> str:
    """Run *script* as a file of *project*, with the node at *address* in place of the usual one."""
    assert NODE_OF_DOCS in script
    (project / name).write_text(script.replace(NODE_OF_DOCS, address), encoding="utf-8")
    return node("--no-warnings", name, cwd=project)

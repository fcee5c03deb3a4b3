"""The package as it is installed without the server: a client, and nothing more."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.kit.process import ROOT, Process

pytestmark = pytest.mark.slow

SCRIPT = """
import importlib.util
import json
import sys

import fastpaca

assert "httpx" not in sys.modules
assert fastpaca.__version__

from fastpaca import ContextNotFound, Fastpaca, VersionConflict

with Fastpaca({address!r}) as client:
    with client.context("wheel", budget=8000) as context:
        appended = context.append({{"role": "user", "parts": []}}, if_version=0)
        assert context.context().messages[0].seq == appended.seq == 1
        try:
            context.append({{"role": "user", "parts": []}}, if_version=0)
        except VersionConflict as conflict:
            assert conflict.found == 1
        assert context.append("Hi").seq == 2
        view = context.context()
        assert context.context(format="gemini").messages[0]["parts"] == [{{"text": "Hi"}}]
        context.delete()
        frames = [frame.type for frame in context.stream(cursor=0)]
        assert frames == ["message", "message", "tombstoned"]

for name in ("apsw", "asyncpg", "httptools", "prometheus_client", "toktok", "uvloop"):
    assert importlib.util.find_spec(name) is None, name
rooms = {{name.split(".")[1] for name in sys.modules if name.startswith("fastpaca.")}}
assert rooms <= {{"client", "context", "errors", "ids", "ranges", "shapes"}}, rooms

from fastpaca.formats import FORMATS, read, render

for name in FORMATS:
    rendered = render(view, name)
    decoded = json.loads(json.dumps(view.messages))
    assert rendered == render({{"messages": decoded, "fit": view.fit}}, name)
    assert rendered == render(decoded, name)
    assert "Hi" in json.dumps(rendered.messages[0])
content = read({{"role": "user", "parts": [{{"text": "Hi"}}]}}, "gemini").message
assert content["parts"] == [{{"type": "text", "text": "Hi"}}]
for name in ("anthropic", "google", "openai", "pydantic"):
    assert importlib.util.find_spec(name) is None, name

try:
    Fastpaca.local("data")
except ImportError as error:
    print(error)
"""

TYPED = """
from typing import Any, assert_type

from fastpaca import AppendResult, AsyncContext, Context, ProviderView, TokenUsage, View

JSON = dict[str, Any]


def use(chat: Context, message: JSON) -> None:
    usage = TokenUsage(input_tokens=1, output_tokens=2)
    assert_type(chat.append("Hi", if_version=0), AppendResult)
    assert_type(chat.append({"role": "user", "content": "Hi"}, token_count=3), AppendResult)
    assert_type(chat.append([message], usage=usage), list[AppendResult])
    assert_type(chat.append(message, format="anthropic"), AppendResult)
    assert_type(chat.append([message], format="anthropic"), list[AppendResult])
    assert_type(chat.append({"role": "user", "content": "Hi"}, format="openai-chat"), AppendResult)
    assert_type(chat.append([message], format="openai-responses"), list[AppendResult])
    assert_type(chat.append("Hi", format="gemini"), AppendResult)
    assert_type(chat.context(), View)
    view = chat.context(format="anthropic", cache=True)
    assert_type(view, ProviderView[JSON, list[JSON]])
    assert_type(chat.context(format="openai-chat"), ProviderView[JSON, None])
    assert_type(chat.context(format="openai-responses"), ProviderView[JSON, None])
    assert_type(chat.context(format="gemini"), ProviderView[JSON, JSON | None])
    assert_type(view.used_tokens, int)
    assert_type(view.repairs[0].code, str)
    chat.compact(view.messages, format="anthropic")
    chat.append(7)  # type: ignore[call-overload]
    chat.append("Hi", format="antropic")  # type: ignore[call-overload]
    chat.context(format="antropic")  # type: ignore[call-overload]


async def awaited(chat: AsyncContext) -> None:
    view = await chat.context(format="gemini")
    assert_type(await chat.append(view.messages, format="gemini"), list[AppendResult])
"""
"""What a type checker says of formats where no package of a provider is installed."""


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel of this tree and what it says a client needs, from no network."""
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, ROOT)
    (wheel,) = directory.glob("*.whl")
    venv.create(directory / "venv", with_pip=False)
    python = directory / "venv" / "bin" / "python"
    install = ("--disable-pip-version-check", "install", "--no-deps", "--no-index")
    run(sys.executable, "-m", "pip", "--python", python, *install, wheel)
    (packages,) = (directory / "venv" / "lib").glob("python*/site-packages")
    (metadata,) = packages.glob("fastpaca-*.dist-info")
    copy_needed(importlib.metadata.Distribution.at(metadata), packages, set())
    return python


def run(*command: object) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_needed(package: importlib.metadata.Distribution, target: Path, copied: set[str]) -> None:
    """Copy what *package* requires, and what that requires, from where these tests run."""
    for line in package.requires or ():
        requirement = Requirement(line)
        name = requirement.name.lower()
        if name in copied or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        copied.add(name)
        needed = importlib.metadata.distribution(name)
        assert requirement.specifier.contains(needed.version, prereleases=True)
        for file in needed.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target / file)
        copy_needed(needed, target, copied)


def test_a_client_needs_no_server(interpreter: Path, node: Process, tmp_path: Path) -> None:
    """
    The installed wheel imports, works with a node, and says what a local client lacks.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(address=node.address))
    said = run(interpreter, "-W", "error", script)
    assert said.strip().endswith("install them with: pip install 'fastpaca[local]'")


def test_its_types_are_shipped(interpreter: Path) -> None:
    """
    A type checker believes the annotations of a package that says so.
    """
    (packages,) = interpreter.parents[1].glob("lib/python*/site-packages")
    assert (packages / "fastpaca" / "py.typed").exists()


def test_messages_are_json_where_a_package_is_missing(interpreter: Path, tmp_path: Path) -> None:
    """
    A strict type checker has no complaint, and knows the rest; `typed.py` has the packages.
    """
    (tmp_path / "typed.py").write_text(TYPED)
    cache = ("--cache-dir", tmp_path / "cache", "--config-file", "")
    run(
        *(sys.executable, "-m", "mypy", "--strict", *cache),
        *("--python-executable", interpreter, tmp_path / "typed.py"),
    )

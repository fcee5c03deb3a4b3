"""The TypeScript SDK on Deno, on Bun and on the oldest Node that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.npm import SDK, node, run
from tests.sdk.test_typescript import FILES

PACKAGES = SDK / "runtimes" / "node_modules"

pytestmark = pytest.mark.runtimes

COMMANDS = {
    "deno": ("@deno/*/deno", "run", "--allow-net", "--allow-read"),
    "bun": ("@oven/bun-*/bin/bun", "run"),
    "node18": ("node-*/bin/node",),
}


def program(pattern: str) -> Path:
    """Find the program of this system; an archive of npm may have lost that it is one."""
    (found,) = PACKAGES.glob(pattern)
    found.chmod(0o755)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_conversation(name: str, project: Path, fresh_node: str) -> None:
    """
    A conversation is kept, read, followed over broken connections and ended.
    """
    pattern, *flags = COMMANDS[name]
    script = project / "anywhere.mjs"
    script.write_bytes((SDK / "test" / "anywhere.mjs").read_bytes())
    said = run(program(pattern), *flags, script, fresh_node, cwd=project)
    assert said.endswith("all is well\n"), said


@pytest.mark.parametrize("name", [name for name in FILES if name != "client.test"])
def test_oldest_node(name: str, built: Path) -> None:
    """
    The tests of a file pass; those of `client.test` need a JSON that tells its source.
    """
    node("--test", built / f"{name}.js", cwd=SDK, program=program(COMMANDS["node18"][0]))

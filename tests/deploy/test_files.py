"""The files that operators deploy with: what they name is there, and is called so by the node."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from fastpaca import allocator
from fastpaca.cli.main import _parser
from fastpaca.cli.serve import ShutdownTimes
from fastpaca.settings import SETTINGS, load
from fastpaca.store.memory import MemoryStore
from fastpaca.testing import composed
from tests.kit.app import run

ROOT: Final = Path(__file__).parents[2]

FILES: Final = ("Dockerfile", "compose.yaml", "deploy/haproxy.cfg", "deploy/fastpaca.service")

SECRETS: Final = {"POSTGRES_PASSWORD": "opensesame", "FASTPACA_API_KEY": "key"}

MALLOC: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(allocator.MMAP_BYTES),
    "MALLOC_ARENA_MAX": str(allocator.ARENAS),
}
"""What a node says to glibc by itself."""

PING_SECONDS: Final = 30
"""How long a stream may be silent, as its page says."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """List what the Dockerfile says, comments left out, continued lines joined."""
    text = re.sub(r"^#.*\n", "", text_of("Dockerfile"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(None, 1)[1]) for line in text.splitlines() if line]


def compose() -> dict[str, Any]:
    """Read compose.yaml with its secrets filled in, as from a file .env."""
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: SECRETS[found[1]], text_of("compose.yaml"))
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def nodes() -> dict[str, dict[str, Any]]:
    services = compose()["services"]
    return {name: service for name, service in services.items() if "build" in service}


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names are as they are
    parser.read_string(text_of("deploy/fastpaca.service"))
    return parser


def proxied() -> dict[str, str]:
    """Give the nodes that the proxy knows, by name."""
    found = re.findall(r"^ +server (\S+) (\S+)$", text_of("deploy/haproxy.cfg"), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("name", FILES)
def test_variables_are_settings(name: str) -> None:
    """
    Every variable that a file sets is a setting of the node; an unknown one would stop its start.
    """
    known = {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"\bFASTPACA_[A-Z_]+\b", text_of(name))) <= known


@pytest.mark.parametrize("name", FILES)
def test_health_is_asked_where_it_is_answered(name: str) -> None:
    """
    A file that asks for the health of a node asks a route that is there.
    """
    paths = set(re.findall(r"/health/\w+", text_of(name)))

    async def ask(client: httpx.AsyncClient) -> None:
        for path in paths:
            assert (await client.get(path)).status_code == 200

    run(ask, composed(MemoryStore()))
    assert bool(paths) == (name == "deploy/haproxy.cfg")


def test_image_is_made_of_files_that_are_there() -> None:
    """
    What the Dockerfile copies is in the tree, and is let through by .dockerignore.
    """
    let_through = re.findall(r"^!(\S+)$", text_of(".dockerignore"), re.MULTILINE)
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == set(let_through)
    assert all((ROOT / source).exists() for source in copied)


def test_image_installs_only_what_is_pinned() -> None:
    """
    Packages come with their hashes; the node itself is installed without any others.
    """
    installs = [rest for name, rest in instructions() if name == "RUN" and " install " in rest]
    by_pip = [rest for rest in installs if "/pip install" in rest]
    assert len(by_pip) == 2
    assert all("--require-hashes" in rest or "--no-deps" in rest for rest in by_pip)


def test_image_runs_a_node() -> None:
    """
    The image starts `fastpaca serve` directly, not as root, where its port and data are found.
    """
    said = dict(instructions())
    command = json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"])
    assert command == ["fastpaca", "serve"]
    assert said["USER"] == "10001:10001"
    assert said["STOPSIGNAL"] == "SIGTERM"
    variables = dict(rest.split("=", 1) for name, rest in instructions() if name == "ENV")
    settings = load({}, {name: v for name, v in variables.items() if name != "PATH"})
    assert MALLOC.items() <= variables.items()
    assert str(settings.data_dir) == said["VOLUME"]
    assert str(settings.port) == said["EXPOSE"]
    assert not settings.is_loopback
    command = json.loads(said["HEALTHCHECK"].split("CMD", 1)[1])
    assert command == ["fastpaca", "health"]  # it reads the settings of the node
    _parser().parse_args(command[1:])


def test_nodes_of_compose_can_start() -> None:
    """
    The settings of each node can be used, and name the database that runs beside it, and the key.
    """
    database = compose()["services"]["database"]["environment"]
    for name, node in nodes().items():
        settings = load({}, node["environment"])
        assert settings.node_name == name
        assert settings.api_keys == (SECRETS["FASTPACA_API_KEY"],)
        user, password = database["POSTGRES_USER"], database["POSTGRES_PASSWORD"]
        expected = f"postgresql://{user}:{password}@database/{database['POSTGRES_DB']}"
        assert settings.store == expected
        assert node["restart"] == "unless-stopped"
        assert node["init"] is True


def test_nothing_of_compose_has_a_secret_of_its_own() -> None:
    """
    What must be secret is asked for, and has no default that everybody knows.
    """
    assert set(re.findall(r"\$\{(\w+)(?::\?[^}]*)\}", text_of("compose.yaml"))) == set(SECRETS)
    assert "${" not in re.sub(r"\$\{\w+:\?[^}]*\}", "", text_of("compose.yaml"))


def test_images_are_pinned_to_a_major() -> None:
    """
    No image is whatever is newest, and none comes from a host of its own.
    """
    images = [service["image"] for service in compose()["services"].values() if "image" in service]
    images += [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert len(images) == 4
    for image in images:
        assert re.fullmatch(r"[a-z]+:\d+(\.\d+)?(-slim)?", image), image


def test_files_of_compose_are_there() -> None:
    """
    What is mounted from the tree is in it.
    """
    volumes = [v for service in compose()["services"].values() for v in service.get("volumes", ())]
    mounted = [volume.split(":")[0] for volume in volumes if volume.startswith("./")]
    assert mounted == ["./deploy/haproxy.cfg"]
    assert all((ROOT / path).is_file() for path in mounted)


def test_proxy_knows_all_nodes() -> None:
    """
    The proxy sends requests to the nodes of compose.yaml, at their port, and listens where it is
    published.
    """
    port = next(setting.default for setting in SETTINGS if setting.variable == "PORT")
    assert proxied() == {name: f"{name}:{port}" for name in nodes()}
    (published,) = compose()["services"]["proxy"]["ports"]
    assert f"bind :{published.split(':')[1]}\n" in text_of("deploy/haproxy.cfg")


def test_proxy_is_more_patient_than_a_node() -> None:
    """
    No stream is cut for being silent between two pings, and no writes are sent twice.
    """
    text = text_of("deploy/haproxy.cfg")
    timeouts = dict(re.findall(r"^ +timeout (\S+) (\d+)s$", text, re.MULTILINE))
    for kind in ("client", "server", "tunnel"):
        assert int(timeouts[kind]) > 2 * PING_SECONDS, kind
    assert "http-request disable-l7-retry unless { method GET HEAD }" in text


def test_nodes_may_end_by_themselves() -> None:
    """
    Whoever ends a node waits for longer than a node takes.
    """
    slowest = ShutdownTimes().seconds_max
    assert int(unit()["Service"]["TimeoutStopSec"]) > slowest
    for node in nodes().values():
        assert int(node["stop_grace_period"].removesuffix("s")) > slowest


def test_unit_starts_a_node_that_is_shut_in() -> None:
    """
    The unit runs a command that the parser takes, keeps its data in a directory of its own, and
    can change nothing else.
    """
    service = unit()["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/fastpaca")
    assert arguments == ["serve"]
    _parser().parse_args(arguments)  # which ends the process if it does not take them
    variables = dict(pair.split("=", 1) for pair in service["Environment"].split())
    assert variables == {"FASTPACA_DATA_DIR": f"%S/{service['StateDirectory']}", **MALLOC}
    held = {"DynamicUser": "yes", "NoNewPrivileges": "yes", "ProtectSystem": "strict"}
    assert {name: service[name] for name in held} == held
    assert service["Restart"] == "always"
    assert int(service["LimitNOFILE"]) >= 65536


def test_page_names_the_files() -> None:
    """
    The page about deployment names each of the files.
    """
    page = text_of("docs/deployment.md")
    assert all(f"`{name}`" in page for name in FILES)

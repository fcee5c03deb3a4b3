"""The way to a backup and back, as the page says it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import httpx

from tests.docs.pages import page
from tests.kit.messages import user
from tests.kit.process import started

FASTPACA = f"{shlex.quote(sys.executable)} -m fastpaca"
CONTEXT = "/v1/contexts/c"


def test_a_backup_is_restored_as_the_page_says(tmp_path: Path) -> None:
    """
    What the commands of the page restore into an empty directory is answered by a node as before.
    """
    backup, restore = (_block(first) for first in ("fastpaca backup /var", "mkdir "))
    *prepare, serve = restore.splitlines()
    assert serve == "fastpaca serve --data-dir /var/lib/fastpaca-restored"
    lived, restored = tmp_path / "lived", tmp_path / "restored"
    lived.mkdir()
    restored.mkdir()
    with started(lived) as node, _client(node.address) as client:
        before = _conversation(client)
        _run(f"{backup} --url {node.address}", tmp_path)
        client.post(f"{CONTEXT}/messages", json={"message": user("too late")}).raise_for_status()
    _run("\n".join(prepare), tmp_path)
    with started(restored) as node, _client(node.address) as client:
        assert _state(client) == before
        assert client.post(f"{CONTEXT}/messages", json={"message": user("on")}).json()["seq"] == 3


def _client(node: str) -> httpx.Client:
    return httpx.Client(base_url=node, trust_env=False)


def _block(first: str) -> str:
    """Give the commands on the page that begin with *first*."""
    return next(b.text for b in page("operations").blocks if b.text.startswith(first))


def _run(script: str, directory: Path) -> None:
    """Run commands of the page, with its paths in *directory*."""
    for shown, used in (
        ("/var/backups", str(directory)),
        ("/var/lib/fastpaca-restored", str(directory / "restored" / "data")),
        ("fastpaca backup", f"{FASTPACA} backup"),
    ):
        script = script.replace(shown, used)
    subprocess.run(["sh", "-eu", "-c", script], check=True, timeout=60)


def _conversation(client: httpx.Client) -> list[object]:
    client.put(CONTEXT, json={"metadata": {"user": "ana"}}).raise_for_status()
    for text in ("one", "two"):
        client.post(f"{CONTEXT}/messages", json={"message": user(text)}).raise_for_status()
    return _state(client)


def _state(client: httpx.Client) -> list[object]:
    paths = (CONTEXT, f"{CONTEXT}/messages", f"{CONTEXT}/context")
    return [client.get(path).json() for path in paths]

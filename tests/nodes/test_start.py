"""The start of nodes on PostgreSQL, and `fastpaca migrate`."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.kit.messages import user
from tests.kit.postgres import Server
from tests.kit.process import DidNotStart, Process, started

HELLO = user("hello")


def append(process: Process) -> int:
    """Append a message to the context `c`, which is made if it is missing, and give its seq."""
    with httpx.Client(base_url=process.address, timeout=30) as http:
        http.put("/v1/contexts/c", json={}).raise_for_status()
        answer = http.post("/v1/contexts/c/messages", json={"message": HELLO})
    answer.raise_for_status()
    seq: int = answer.json()["seq"]
    return seq


def migrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `fastpaca migrate`."""
    command = [sys.executable, "-m", "fastpaca", "migrate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def with_password(dsn: str) -> str:
    """Name the password `opensesame`, for which the test server does not ask."""
    return dsn.replace("fastpaca@", "fastpaca:opensesame@")


@pytest.mark.parametrize("named_by", ["flag", "variable"])
def test_data_is_found_after_a_restart(dsn: str, tmp_path: Path, named_by: str) -> None:
    """
    A node on PostgreSQL needs nothing but the address, and what it was told is there when it is
    started again.
    """
    flags = ("--store", dsn) if named_by == "flag" else ()
    environment = {} if named_by == "flag" else {"FASTPACA_STORE": dsn}
    for seq in (1, 2):
        with started(tmp_path, *flags, **environment) as process:
            assert append(process) == seq
            assert process.stop() == 0
    assert not (tmp_path / "data").exists()


def test_password_is_never_shown(dsn: str, tmp_path: Path) -> None:
    """
    The banner names the database, and neither it nor the logs show the password.
    """
    with started(tmp_path, "--store", with_password(dsn)) as process:
        append(process)
        assert process.stop() == 0
    assert "postgres (test" in process.banner
    assert "opensesame" not in process.banner + process.errors


def test_database_that_is_not_there(server: Server, tmp_path: Path) -> None:
    """
    A start on a database that does not exist is refused in a sentence, without the password.
    """
    with (
        pytest.raises(DidNotStart) as refused,
        started(tmp_path, "--store", with_password(server.dsn("nowhere"))),
    ):
        pass
    assert refused.value.code == 1
    assert 'database "nowhere" does not exist' in str(refused.value)
    assert "opensesame" not in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_node_that_may_not_migrate(dsn: str, tmp_path: Path) -> None:
    """
    A node that was told not to migrate says what to do, and starts once that was done.
    """
    flags = ("--store", dsn, "--migrate-on-boot=false")
    with pytest.raises(DidNotStart) as refused, started(tmp_path, *flags):
        pass
    assert refused.value.code == 1
    assert "run `fastpaca migrate`" in str(refused.value)
    assert migrate("--store", dsn).returncode == 0
    with started(tmp_path, *flags) as process:
        assert append(process) == 1


def test_migrate_says_what_the_schema_is_at(dsn: str) -> None:
    """
    `fastpaca migrate` says which version the schema has, also if it had it before.
    """
    first, second = migrate("--store", dsn), migrate("--store", dsn)
    for done in (first, second):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("The schema is up to date: version ")
    assert first.stdout == second.stdout


def test_migrate_needs_a_database(server: Server) -> None:
    """
    What cannot be migrated is named in a sentence: no database, or one that is not there.
    """
    nothing = migrate("--store", "sqlite")
    assert nothing.returncode == 2
    assert "is not a PostgreSQL database" in nothing.stderr
    nowhere = migrate("--store", with_password(server.dsn("nowhere")))
    assert nowhere.returncode == 1
    assert 'database "nowhere" does not exist' in nowhere.stderr
    assert "opensesame" not in nowhere.stderr
    assert "Traceback" not in nowhere.stderr


def test_two_first_starts_at_once(dsn: str, tmp_path: Path) -> None:
    """
    Nodes that are started together on an empty database all serve, and share what it holds.
    """
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        places = [tmp_path / "a", tmp_path / "b"]
        for place in places:
            place.mkdir()
        nodes = [started(place, "--store", dsn) for place in places]
        first, second = pool.map(stack.enter_context, nodes)
        assert [append(first), append(second), append(first)] == [1, 2, 3]

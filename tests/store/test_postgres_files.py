"""The files of services and of passwords, as libpq reads them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastpaca.store.postgres.address import BadAddress, address_of
from fastpaca.store.postgres.files import password

PASSWORDS = """\
# a comment: not a password
db:5432:other:me:wrong
db:5432:app:me:se\\:cr\\\\et:rest
db:*:app:you:yours
localhost:5432:app:me:local
/run/pg:5432:app:me:socket
::1:1:a:b
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of passwords that only its owner can read."""
    path = tmp_path / "passwords"
    path.write_text(PASSWORDS)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("host", "port", "database", "user", "found"),
    [
        ("db", 5432, "app", "me", "se:cr\\et"),
        ("db", 5432, "other", "me", "wrong"),
        ("db", 1, "app", "you", "yours"),
        ("db", 1, "app", "me", ""),
        ("elsewhere", 5432, "app", "me", ""),
        ("", 5432, "app", "me", "local"),
        ("/run/other", 5432, "app", "me", "local"),
        ("localhost", 5432, "app", "me", "local"),
    ],
)
def test_first_line_that_fits_has_the_password(
    host: str, port: int, database: str, user: str, found: str, file: Path
) -> None:
    """
    A line fits whose fields are equal or stars; what is escaped is meant as it is.
    """
    assert password(file, host, port, database, user) == found


def test_file_that_others_may_read_is_not_used(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    It is passed over with a line in the log; one that is missing, or no file, in silence.
    """
    file.chmod(0o640)
    with caplog.at_level(logging.WARNING):
        assert password(file, "db", 5432, "app", "me") == ""
        assert str(file) in caplog.text
        caplog.clear()
        for path in (tmp_path / "missing", tmp_path, None):
            assert password(path, "db", 5432, "app", "me") == ""
    assert caplog.text == ""


SERVICES = """\
[ours]
host=db
user=me
# port=1
user=you
[broken]
no value
[nested]
service=ours
[odd]
search_path=x
[wrong]
sslmode=maybe
"""


def refusal(dsn: str, **environ: str) -> str:
    with pytest.raises(BadAddress) as raised:
        address_of(dsn, environ)
    return str(raised.value)


def test_service_completes_the_address(tmp_path: Path) -> None:
    """
    The address wins over its service, and that over the environment.
    """
    path = tmp_path / ".pg_service.conf"
    path.write_text(SERVICES)
    environ = {"HOME": str(tmp_path), "PGHOST": "env", "PGDATABASE": "env"}
    address = address_of("postgresql://?service=ours", environ)
    assert (address.hosts[0].name, address.user, address.database) == ("db", "me", "env")
    address = address_of("postgresql://mine@/own", {**environ, "PGSERVICE": "ours"})
    assert (address.hosts[0].name, address.user, address.database) == ("db", "mine", "own")


def test_service_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """
    A sentence names the service, and the file that was looked at.
    """
    path = tmp_path / "services"
    path.write_text(SERVICES)
    environ = {"PGSERVICEFILE": str(path)}
    for service, sentence in {
        "theirs": f"the service theirs is not in {path}",
        "broken": f"line 7 of {path} is not a parameter",
        "nested": f"line 9 of {path} is not a parameter",
        "odd": "search_path, in the service odd, is not a libpq parameter",
        "wrong": "sslmode, in the service wrong, must be disable, allow,",
    }.items():
        assert sentence in refusal(f"postgresql://h?service={service}", **environ)
    path.write_bytes(b"\xff")
    assert "is not UTF-8" in refusal("postgresql://h?service=ours", **environ)
    assert "cannot be read" in refusal("postgresql://h?service=x", PGSERVICEFILE=str(tmp_path))

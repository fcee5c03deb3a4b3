"""TLS to a real server: what is taken, and how a certificate that is wrong is named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fastpaca.archive.base import ArchiveFailed
from fastpaca.archive.postgres import PostgresArchive
from fastpaca.store.base import StoreRefused
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.certificates import Authority, Certificate, encrypted, hashed
from tests.kit.postgres import run_sql
from tests.kit.stores import opened
from tests.store.test_postgres_address import HONOURED, PASSED_OVER
from tests.store.tls import TlsServer

PASSWORD: Final = "opensesame"

IS_ENCRYPTED: Final = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory that is empty, whoever runs the tests."""
    found = tmp_path / "home"
    found.mkdir()
    monkeypatch.setenv("HOME", str(found))
    return found


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has signed nothing of the server."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module")
def known(tls_server: TlsServer) -> Certificate:
    """The certificate of a client that the server knows."""
    return tls_server.authority.sign("known")


@pytest.fixture
async def changed(tls_server: TlsServer) -> Iterator[TlsServer]:  # type: ignore[misc]  # async
    """The server, to be changed by a test."""
    yield tls_server
    await tls_server.reset()


async def asked(dsn: str, sql: str = IS_ENCRYPTED) -> object:
    """Open a store as a node does, and ask something on one of its connections."""
    async with (
        opened(PostgresStore(dsn, allow_unsafe=True)) as store,
        store._database.connections.writer() as connection,
    ):
        return await connection.fetchval(sql)


async def refusal(dsn: str) -> str:
    """Open a store that must be refused, and give the sentence."""
    with pytest.raises(StoreRefused) as raised:
        await asked(dsn)
    said = str(raised.value)
    assert said.startswith("The database cannot be used: ")
    assert PASSWORD not in said
    assert "\n" not in said
    return said


# --- what is taken --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "is_encrypted"),
    [
        ("", True),
        ("sslmode=disable", False),
        ("sslmode=allow", False),
        ("sslmode=prefer", True),
        ("sslmode=require", True),
        ("ssl=true", True),
        ("sslmode=require&channel_binding=require", True),
        ("sslmode=verify-ca&sslrootcert={ca}", True),
        ("sslmode=verify-full&sslrootcert={ca}", True),
        ("sslmode=verify-full&sslrootcert={ca}&sslnegotiation=direct", True),
        ("sslmode=verify-ca&sslrootcert={ca}&sslsni=0", True),
        ("sslmode=require&ssl_min_protocol_version=TLSv1.3", True),
        ("sslmode=require&ssl_max_protocol_version=TLSv1.2", True),
        ("sslmode=require&sslkeylogfile={log}", True),
    ],
)
async def test_server_is_taken(
    query: str, is_encrypted: bool, tls_server: TlsServer, tmp_path: Path
) -> None:
    """
    Each mode connects in its way, also with what hosted databases write into addresses.
    """
    if "direct" in query:
        assert tls_server.version >= 17
    log = tmp_path / "keys"
    dsn = tls_server.dsn(query.format(ca=tls_server.authority.certificate, log=log))
    assert await asked(dsn) is is_encrypted
    assert log.exists() == ("{log}" in query)


ONLY_READ: Final = {"user", "password", "dbname", "host", "hostaddr", "port", "passfile", "service"}
"""Parameters whose rows name other servers, or files that are not there."""

CONNECTS: Final = [
    query
    for query in (*HONOURED, *PASSED_OVER)
    if query.partition("=")[0] not in ONLY_READ and not query.startswith(("ssl", "krb"))
]


@pytest.mark.parametrize("query", CONNECTS)
async def test_whatever_is_taken_connects(query: str, tls_server: TlsServer) -> None:
    """
    No parameter that is honoured or passed over reaches the server as a setting that it refuses.
    """
    assert await asked(tls_server.dsn(query)) is True


async def test_address_is_where_to_connect_and_name_what_to_check(tls_server: TlsServer) -> None:
    """
    With hostaddr the name need not be found, and the certificate is checked against it.
    """
    query = f"hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={tls_server.authority.certificate}"
    assert await asked(tls_server.dsn(query)) is True
    assert "other.invalid" in await refusal(tls_server.dsn(query, host="other.invalid"))


async def test_usual_places_are_looked_at(
    tls_server: TlsServer, known: Certificate, other: Authority, home: Path
) -> None:
    """
    What lies in ~/.postgresql is used, and checks the server under sslmode=require, too.
    """
    (home / ".postgresql").mkdir()
    roots = home / ".postgresql/root.crt"
    roots.write_bytes(tls_server.authority.certificate.read_bytes())
    (home / ".postgresql/postgresql.crt").write_bytes(known.certificate.read_bytes())
    key = home / ".postgresql/postgresql.key"
    key.write_bytes(known.key.read_bytes())
    key.chmod(0o600)
    dsn = tls_server.dsn("sslmode=verify-full", user="known")
    assert await asked(dsn, "SELECT current_user") == "known"
    roots.write_bytes(other.certificate.read_bytes())
    said = await refusal(tls_server.dsn("sslmode=require", user="known"))
    assert f"is not signed by an authority in sslrootcert {roots}" in said


async def test_certificates_may_be_renewed(
    tls_server: TlsServer, other: Authority, tmp_path: Path
) -> None:
    """
    Files are read anew for each connection, so a node need not be restarted.
    """
    roots = tmp_path / "roots.crt"
    roots.write_bytes(tls_server.authority.certificate.read_bytes())
    dsn = tls_server.dsn(f"sslmode=verify-full&sslrootcert={roots}")
    store = PostgresStore(dsn, allow_unsafe=True)
    await store.open()
    roots.write_bytes(other.certificate.read_bytes())
    with pytest.raises(StoreRefused, match="not signed"):
        await store._database.connections.connect()
    roots.write_bytes(tls_server.authority.certificate.read_bytes())
    (await store._database.connections.connect()).terminate()
    await store.close()


async def test_connection_is_kept_alive(tls_server: TlsServer) -> None:
    """
    TCP asks by itself whether the server is there, as often as the address says.
    """
    import socket

    async def option(query: str, level: int, name: int) -> int:
        store = PostgresStore(tls_server.dsn(query), allow_unsafe=True)
        connection = await store._database.connections.connect()
        found: int = connection._transport.get_extra_info("socket").getsockopt(level, name)
        connection.terminate()
        return found

    assert await option("", socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert await option("keepalives=0", socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    assert await option("keepalives_interval=7", socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
    assert await option("keepalives_count=3", socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        query = "keepalives=0&tcp_user_timeout=4321"
        assert await option(query, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4321


async def test_archive_has_the_same_addresses(tls_server: TlsServer, other: Authority) -> None:
    """
    The archive of a node on SQLite is reached in the same ways, and names what is wrong alike.
    """
    roots = "sslmode=verify-full&channel_binding=require&sslrootcert={}"
    dsn = tls_server.dsn(roots.format(tls_server.authority.certificate), user="plain:opensesame")
    archive = PostgresArchive(dsn, allow_unsafe=True)
    assert len(await archive.open()) == 16
    await archive.close()
    archive = PostgresArchive(tls_server.dsn(roots.format(other.certificate)), allow_unsafe=True)
    with pytest.raises(ArchiveFailed, match="certificate of localhost is not signed"):
        await archive.open()
    await archive.close()


# --- the certificate of the server ----------------------------------------------------------------


async def test_wrong_authority_is_named(tls_server: TlsServer, other: Authority) -> None:
    """
    The sentence names the host and the file that should have the one who signed.
    """
    for mode in ("require", "verify-ca", "verify-full"):
        said = await refusal(tls_server.dsn(f"sslmode={mode}&sslrootcert={other.certificate}"))
        assert said.endswith(
            f"the certificate of localhost is not signed by an authority in sslrootcert"
            f" {other.certificate}; name the one that signed it."
        )


async def test_authority_of_the_system_is_named(tls_server: TlsServer) -> None:
    """
    A certificate that only its owner vouches for is none that the machine trusts.
    """
    said = await refusal(tls_server.dsn("sslrootcert=system"))
    assert "is not signed by an authority that this machine trusts" in said


async def test_wrong_name_is_named(changed: TlsServer) -> None:
    """
    A certificate for another host is refused where names count, and only there.
    """
    await changed.show(changed.authority.sign("elsewhere", "DNS:db.example.com"))
    roots = f"sslrootcert={changed.authority.certificate}"
    assert await asked(changed.dsn(f"sslmode=verify-ca&{roots}")) is True
    for host in ("localhost", "127.0.0.1"):
        said = await refusal(changed.dsn(f"sslmode=verify-full&{roots}", host=host))
        assert f"the certificate of {host} is for another" in said


async def test_expired_certificate_is_named(changed: TlsServer) -> None:
    """
    A certificate that is too old is said to be, and checked only if any is.
    """
    await changed.show(changed.authority.sign("old", "DNS:localhost", days=-1))
    assert await asked(changed.dsn("sslmode=require")) is True
    said = await refusal(
        changed.dsn(f"sslmode=verify-full&sslrootcert={changed.authority.certificate}")
    )
    assert "the certificate of localhost has expired" in said


async def test_revoked_certificate_is_named(tls_server: TlsServer, tmp_path: Path) -> None:
    """
    A list of revoked certificates is looked at, in a file or in a directory; one is not enough.
    """
    authority = Authority(tmp_path)
    dsn = tls_server.dsn(f"sslmode=verify-full&sslrootcert={tls_server.authority.certificate}")
    revoked = tls_server.authority.revoke(tls_server.good)
    assert f"was revoked, as {revoked} says" in await refusal(f"{dsn}&sslcrl={revoked}")
    directory = tmp_path / "lists"
    directory.mkdir()
    (directory / revoked.name).write_bytes(revoked.read_bytes())
    hashed(directory)
    assert f"was revoked, as {directory} says" in await refusal(f"{dsn}&sslcrldir={directory}")
    foreign = authority.revoke()
    assert "check sslcrl and sslcrldir" in await refusal(f"{dsn}&sslcrl={foreign}")


async def test_server_without_tls_is_told(changed: TlsServer) -> None:
    """
    Where TLS is asked for, a server that has none is said to have none; else it is used as it is.
    """
    await changed.set("ssl", "off")
    for query in ("", "sslmode=prefer", "sslmode=allow", "sslmode=disable"):
        assert await asked(changed.dsn(query)) is False
    said = await refusal(changed.dsn("sslmode=require"))
    assert "localhost offers no TLS, but sslmode=require requires it" in said


async def test_server_that_demands_tls(changed: TlsServer, known: Certificate) -> None:
    """
    With sslmode=allow a server that refuses a plain connection is asked again, with TLS.
    """
    query = f"sslmode=allow&sslcert={known.certificate}&sslkey={known.key}"
    assert await asked(changed.dsn(query, user="known")) is True
    said = await refusal(changed.dsn("sslmode=disable", user="known"))
    assert "pg_hba.conf" in said


async def test_versions_that_do_not_meet_are_told(changed: TlsServer) -> None:
    """
    The parameters are named that say which versions of TLS are spoken.
    """
    await changed.set("ssl_min_protocol_version", "'TLSv1.3'")
    said = await refusal(changed.dsn("sslmode=require&ssl_max_protocol_version=TLSv1.2"))
    assert "ssl_max_protocol_version" in said


# --- files ----------------------------------------------------------------------------------------


async def test_missing_roots_are_named(tls_server: TlsServer, home: Path, tmp_path: Path) -> None:
    """
    A mode that checks needs something to check by; the sentence says where it was looked for.
    """
    for mode in ("verify-ca", "verify-full"):
        said = await refusal(tls_server.dsn(f"sslmode={mode}"))
        assert f"there is no readable {home}/.postgresql/root.crt" in said
        assert "sslrootcert=system" in said
    missing = tmp_path / "missing.crt"
    for mode in ("require", "verify-full"):
        said = await refusal(tls_server.dsn(f"sslmode={mode}&sslrootcert={missing}"))
        assert f"sslrootcert {missing} cannot be read: No such file or directory." in said


async def test_roots_that_are_none_are_named(tls_server: TlsServer, tmp_path: Path) -> None:
    """
    A file that holds no certificate, a directory, and a list that is none are each named.
    """
    wrong = tmp_path / "wrong"
    wrong.write_text("no certificate")
    said = await refusal(tls_server.dsn(f"sslmode=verify-ca&sslrootcert={wrong}"))
    assert f"sslrootcert {wrong} contains nothing usable" in said
    said = await refusal(tls_server.dsn(f"sslmode=verify-ca&sslrootcert={tmp_path}"))
    assert f"sslrootcert {tmp_path}" in said
    roots = f"sslmode=verify-ca&sslrootcert={tls_server.authority.certificate}"
    assert f"sslcrl {wrong}" in await refusal(tls_server.dsn(f"{roots}&sslcrl={wrong}"))
    said = await refusal(tls_server.dsn(f"{roots}&sslcrldir={wrong}"))
    assert f"sslcrldir {wrong} is not a directory" in said


async def test_certificate_of_the_client(tls_server: TlsServer, known: Certificate) -> None:
    """
    A role that is known by its certificate is let in with it, and told what is missing without.
    """
    query = f"sslmode=require&sslcert={known.certificate}&sslkey={known.key}"
    dsn = tls_server.dsn(query, user="known")
    assert await asked(dsn, "SELECT current_user") == "known"
    for without in ("sslmode=require", f"{query}&sslcertmode=disable"):
        said = await refusal(tls_server.dsn(without, user="known"))
        assert "localhost asks for a certificate, and none was sent" in said
        assert "sslcert" in said


async def test_certificate_of_an_unknown_client(tls_server: TlsServer, other: Authority) -> None:
    """
    A certificate that the server cannot check is named.
    """
    stranger = other.sign("known")
    said = {"TLSv1.2": "localhost refuses sslcert", "TLSv1.3": "after it received sslcert"}
    for version, sentence in said.items():
        query = f"sslmode=require&sslcert={stranger.certificate}&sslkey={stranger.key}"
        dsn = tls_server.dsn(f"{query}&ssl_max_protocol_version={version}", user="known")
        assert f"{sentence} {stranger.certificate}" in await refusal(dsn)


async def test_key_that_others_may_use_is_refused(
    tls_server: TlsServer, known: Certificate, tmp_path: Path
) -> None:
    """
    As with libpq, a key must be its owner's alone; one of root's may be read by a group.
    """
    key = tmp_path / "client.key"
    key.write_bytes(known.key.read_bytes())
    query = f"sslmode=require&sslcert={known.certificate}&sslkey={key}"
    dsn = tls_server.dsn(query, user="known")
    for mode in (0o644, 0o604, 0o660):
        key.chmod(mode)
        said = await refusal(dsn)
        assert f"sslkey {key} can be used by other users; set its permissions to 0600" in said
    key.chmod(0o640)
    if os.geteuid() == 0:
        assert await asked(dsn) is True
    else:
        assert "can be used by other users" in await refusal(dsn)


async def test_key_with_a_passphrase(tls_server: TlsServer, known: Certificate) -> None:
    """
    It is opened by sslpassword; without that, or with a wrong one, nobody is asked at a terminal.
    """
    key = encrypted(known.key, "hunter2")
    query = f"sslmode=require&sslcert={known.certificate}&sslkey={key}"
    dsn = tls_server.dsn(query, user="known")
    assert await asked(f"{dsn}&sslpassword=hunter2") is True
    assert f"sslkey {key} is encrypted, and sslpassword is missing" in await refusal(dsn)
    said = await refusal(f"{dsn}&sslpassword=hunter3")
    assert f"sslkey {key} is encrypted, and sslpassword does not open it" in said
    assert "hunter3" not in said


async def test_files_of_the_client_are_named(
    tls_server: TlsServer, known: Certificate, other: Authority, tmp_path: Path
) -> None:
    """
    What is missing, is no certificate or no key, or does not belong together is named.
    """
    missing = tmp_path / "missing"
    foreign = other.sign("foreign").key
    pairs = {
        (known.certificate, missing): f"sslkey {missing} cannot be read: No such file",
        (missing, known.key): f"sslcert {missing} cannot be read: No such file",
        (known.key, known.key): f"sslcert {known.key} is not a certificate in PEM form",
        (known.certificate, known.certificate): f"sslkey {known.certificate} ",
        (known.certificate, foreign): f"sslkey {foreign} is not the key of sslcert",
        (known.certificate, tmp_path): f"sslkey {tmp_path} ",
        (known.certificate, ""): f"sslcert {known.certificate} needs its key",
    }
    for (certificate, key), sentence in pairs.items():
        query = f"sslmode=require&sslcert={certificate}&sslkey={key}"
        assert sentence in await refusal(tls_server.dsn(query, user="known"))


# --- a process without a name, or a home ----------------------------------------------------------

UID: Final = 54321
"""Of a user that no machine knows."""


def run_as_nobody_known(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user that this machine does not know."""
    become = ["unshare", "--user", f"--map-user={UID}"]
    if subprocess.run([*become, "true"], check=False, capture_output=True).returncode:
        become = ["setpriv", f"--reuid={UID}", "--clear-groups"]  # a container, where root may
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    return subprocess.run(
        [*become, sys.executable, "-m", "fastpaca", *argv],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**paths, **environ},
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no user namespaces")
@pytest.mark.parametrize(
    ("source", "environ"),
    [
        ("FASTPACA_STORE", {}),
        ("DATABASE_URL", {"FASTPACA_ARCHIVER_ENABLED": "true"}),
        ("FASTPACA_POSTGRES_URL", {"FASTPACA_ARCHIVER_ENABLED": "true"}),
    ],
)
def test_address_and_process_without_a_user(source: str, environ: dict[str, str]) -> None:
    """
    Where neither the address nor the system says who connects, a sentence says what to write.
    """
    environ = {**environ, source: "postgresql://db.example.com/x"}
    for command in (("serve", "--port", "0"), ("migrate",)):
        done = run_as_nobody_known(*command, **environ)
        assert done.stderr == (
            f"fastpaca: {source} cannot be used: it names no user, and the user id {UID} of this"
            " process has no name on this machine; write postgresql://user@host/database, or set"
            " PGUSER.\n"
        )
        assert done.returncode == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no user namespaces")
def test_process_without_a_name_or_a_home_can_use_a_database(
    tls_server: TlsServer, tmp_path: Path
) -> None:
    """
    HOME may be missing, empty, a directory that may not be entered, or no directory.
    """
    closed = tmp_path / "closed"
    (closed / ".postgresql").mkdir(parents=True)
    closed.chmod(0)
    for environ in ({}, {"HOME": ""}, {"HOME": str(closed)}, {"HOME": "/dev/null"}):
        for query in ("", "sslmode=require"):
            done = run_as_nobody_known("migrate", "--store", tls_server.dsn(query), **environ)
            assert (done.stdout, done.stderr) == ("The schema is up to date: version 1.\n", "")
        done = run_as_nobody_known(
            "migrate", "--store", tls_server.dsn("sslmode=verify-full"), **environ
        )
        where = f"{environ['HOME']}/.postgresql/root.crt" if environ.get("HOME") else "a home"
        assert f"there is no readable {where}" in done.stderr
        assert "Traceback" not in done.stderr
    closed.chmod(0o700)


async def test_password_from_a_file(tls_server: TlsServer, home: Path, tmp_path: Path) -> None:
    """
    A password that the address leaves out is looked up, in ~/.pgpass or where passfile says.
    """
    line = f"localhost:{tls_server.port}:node:plain:{PASSWORD}\n"
    dsn = tls_server.dsn(user="plain")
    assert "password" in await refusal(dsn)
    (home / ".pgpass").write_text(line)
    (home / ".pgpass").chmod(0o600)
    assert await asked(dsn, "SELECT current_user") == "plain"
    (home / ".pgpass").unlink()
    named = tmp_path / "passwords"
    named.write_text(line)
    named.chmod(0o600)
    dsn = tls_server.dsn(f"passfile={named}", user="plain")
    assert await asked(dsn, "SELECT current_user") == "plain"


async def test_service_names_the_rest(
    tls_server: TlsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A service says what the address leaves open, as with libpq.
    """
    services = tmp_path / "services"
    services.write_text(
        f"# ours\n[other]\nhost=x\n\n[ours]\nhost=localhost\nport={tls_server.port}\n"
        f"dbname=node\nuser=plain\npassword={PASSWORD}\nsslmode=require\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert await asked("postgresql://?service=ours") is True
    assert await run_sql(tls_server.own_dsn, "SELECT 1") == [(1,)]

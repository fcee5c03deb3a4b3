"""What an address means, held against what libpq itself takes it to mean."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from fastpaca.store.postgres.address import Address, BadAddress, Host, _split, address_of, shown
from fastpaca.store.postgres.parameters import PARAMETERS
from fastpaca.store.postgres.store import PostgresStore
from tests.kit.postgres import run_sql
from tests.store import libpq

# What each parameter of libpq does, with a value that shows it.
HONOURED: Final[dict[str, Callable[[Address], bool]]] = {
    "user=you": lambda a: a.user == "you",
    "password=a%26b": lambda a: a.password == "a&b",
    "passfile=/p": lambda a: a.passfile == Path("/p"),
    "channel_binding=prefer": lambda a: not a.passed_over,
    "channel_binding=disable": lambda a: not a.passed_over,
    "connect_timeout=7": lambda a: a.connect_seconds == 7,
    "connect_timeout=0": lambda a: a.connect_seconds is None,
    "connect_timeout=-1": lambda a: a.connect_seconds is None,
    "dbname=other": lambda a: a.database == "other",
    "host=a,b": lambda a: [host.targets for host in a.hosts] == [["a"], ["b"]],
    "host=/run/a": lambda a: a.hosts[0].is_local,
    "hostaddr=10.0.0.1": lambda a: a.hosts == (Host("h", "10.0.0.1", 5432),),
    "port=1234": lambda a: a.hosts[0].port == 1234,
    "client_encoding=UTF8": lambda a: not a.passed_over,
    "client_encoding=auto": lambda a: not a.passed_over,
    "options=-c%20jit%3Doff": lambda a: a.settings["options"] == "-c jit=off",
    "application_name=mine": lambda a: a.settings["application_name"] == "mine",
    "fallback_application_name=mine": lambda a: a.settings["application_name"] == "mine",
    "keepalives=0": lambda a: a.keepalive == {"keepalives": 0},
    "keepalives_idle=30": lambda a: a.keepalive == {"keepalives_idle": 30},
    "keepalives_interval=5": lambda a: a.keepalive == {"keepalives_interval": 5},
    "keepalives_count=3": lambda a: a.keepalive == {"keepalives_count": 3},
    "tcp_user_timeout=9000": lambda a: a.keepalive == {"tcp_user_timeout": 9000},
    "sslmode=disable": lambda a: a.tls.mode == "disable",
    "sslmode=verify-full": lambda a: a.tls.mode == "verify-full",
    "ssl=true": lambda a: a.tls.mode == "require",
    "sslnegotiation=postgres": lambda a: not a.tls.is_direct,
    "sslnegotiation=direct&sslmode=require": lambda a: a.tls.is_direct,
    "sslcompression=0": lambda a: not a.passed_over,
    "sslcert=/c": lambda a: a.tls.certificate == "/c",
    "sslkey=/k": lambda a: a.tls.key == "/k",
    "sslcertmode=disable": lambda a: not a.tls.sends_certificate,
    "sslcertmode=allow": lambda a: a.tls.sends_certificate,
    "sslpassword=x": lambda a: a.tls.passphrase == "x",
    "sslrootcert=/r": lambda a: a.tls.roots == "/r",
    "sslrootcert=system": lambda a: a.tls.mode == "verify-full",
    "sslcrl=/l": lambda a: a.tls.revoked == "/l",
    "sslcrldir=/d": lambda a: a.tls.revoked_directory == "/d",
    "sslsni=0": lambda a: not a.tls.sends_name,
    "sslsni=1": lambda a: a.tls.sends_name,
    "min_protocol_version=3.0": lambda a: not a.passed_over,
    "max_protocol_version=latest": lambda a: not a.passed_over,
    "ssl_min_protocol_version=TLSv1.3": lambda a: a.tls.version_min == "TLSv1.3",
    "ssl_max_protocol_version=TLSv1.2": lambda a: a.tls.version_max == "TLSv1.2",
    "gssencmode=prefer": lambda a: not a.passed_over,
    "gssencmode=disable": lambda a: not a.passed_over,
    "gsslib=gssapi": lambda a: not a.passed_over,
    "krbsrvname=pg": lambda a: a.kerberos_service == "pg",
    "gssdelegation=0": lambda a: not a.passed_over,
    "replication=off": lambda a: not a.passed_over,
    "target_session_attrs=read-write": lambda a: not a.passed_over,
    "target_session_attrs=primary": lambda a: not a.passed_over,
    "target_session_attrs=any": lambda a: not a.passed_over,
    "load_balance_hosts=disable": lambda a: not a.passed_over,
    "sslkeylogfile=/log": lambda a: a.tls.key_log == "/log",
}

PASSED_OVER: Final = (
    "channel_binding=require",
    "client_encoding=LATIN1",
    "sslcompression=1",
    "gsslib=sspi",
    "gssdelegation=1",
    "load_balance_hosts=random",
)

REFUSED: Final = (
    "service=missing",
    "connect_timeout=soon",
    "port=99999",
    "port=0",
    "port=1,2",
    "hostaddr=10.0.0.1,10.0.0.2",
    "host=@abstract",
    "keepalives_idle=1s",
    "sslmode=on",
    "sslnegotiation=direct",
    "sslrootcert=system&sslmode=require",
    "sslsni=0&sslmode=verify-full",
    "sslcertmode=require",
    "requirepeer=postgres",
    "require_auth=scram-sha-256",
    "min_protocol_version=3.2",
    "min_protocol_version=latest",
    "ssl_min_protocol_version=SSLv3",
    "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
    "gssencmode=require",
    "replication=database",
    "replication=true",
    "target_session_attrs=read-only",
    "target_session_attrs=standby",
    "target_session_attrs=prefer-standby",
    "scram_client_key=SECRET",
    "scram_server_key=SECRET",
    "oauth_issuer=https%3A%2F%2Fissuer",
    "oauth_client_id=SECRET",
    "oauth_client_secret=SECRET",
    "oauth_scope=SECRET",
)


def read(query: str, **environ: str) -> Address:
    return address_of(f"postgresql://me@h/db?{query}", {"HOME": "/nowhere", **environ})


def refusal(dsn: str, **environ: str) -> str:
    with pytest.raises(BadAddress) as raised:
        address_of(dsn, {"HOME": "/nowhere", **environ})
    return str(raised.value)


def test_all_parameters_of_libpq_are_known() -> None:
    """
    The table has what libpq has and nothing else, with the same variables; each has its row here.
    """
    assert {name: one.variable for name, one in PARAMETERS.items()} == libpq.variables()
    shown_here = {query.partition("=")[0] for query in (*HONOURED, *PASSED_OVER, *REFUSED)}
    assert set(PARAMETERS) <= shown_here


@pytest.mark.parametrize("query", [*HONOURED, *PASSED_OVER, *REFUSED])
def test_rows_are_addresses_of_libpq(query: str) -> None:
    """
    Each of the rows is an address that libpq understands.
    """
    assert libpq.parsed(f"postgresql://me@h/db?{query}") is not None


@pytest.mark.parametrize(("query", "holds"), HONOURED.items())
def test_parameter_is_honoured(query: str, holds: Callable[[Address], bool]) -> None:
    """
    It does what it does in libpq, and nothing is said of it.
    """
    address = read(query)
    assert holds(address)
    assert address.passed_over == ()


@pytest.mark.parametrize("query", PASSED_OVER)
def test_parameter_is_passed_over_with_a_reason(query: str) -> None:
    """
    What only tunes a connection, or what hosted databases always write, does not stop the start.
    """
    (note,) = read(query).passed_over
    assert note.startswith(f"{query.partition('=')[0]} is ignored: ")


@pytest.mark.parametrize("query", REFUSED)
def test_parameter_is_refused_by_name(query: str) -> None:
    """
    What cannot be had, and would be missed, is named with what to write instead, and not repeated.
    """
    said = refusal(f"postgresql://me@h/db?{query}")
    assert any(pair.partition("=")[0] in said for pair in query.split("&"))
    assert "SECRET" not in said


BESIDE_OTHERS: Final = {"ssl", "host", "user", "dbname", "port", "hostaddr", "service"}
"""Parameters that mean something else where the address has them, too; see the test below."""

BY_VARIABLE: Final = [
    query
    for query in (*HONOURED, *PASSED_OVER, *REFUSED)
    if (name := query.partition("=")[0]) not in BESIDE_OTHERS
    and PARAMETERS[name].variable
    and "&" not in query
]


@pytest.mark.parametrize("query", BY_VARIABLE)
def test_environment_says_the_same(query: str) -> None:
    """
    A variable of libpq does what the parameter does, and a refusal names it.
    """
    name = query.partition("=")[0]
    value = (libpq.parsed(f"postgresql://h?{query}") or {})[name]
    variable = PARAMETERS[name].variable
    if query in REFUSED:
        said = refusal("postgresql://me@h/db", **{variable: value})
        assert variable in said or f"{query} requires" in said
        return
    address = read("", **{variable: value})
    assert bool(address.passed_over) == (query in PASSED_OVER)
    if query in HONOURED:
        assert HONOURED[query](address)


def test_environment_completes_the_address() -> None:
    """
    What the address says wins over the environment; what it leaves open is taken from there.
    """
    environ = {
        "PGUSER": "you",
        "PGPASSWORD": "pw",
        "PGHOST": "a,b",
        "PGPORT": "1,2",
        "PGDATABASE": "theirs",
        "PGHOSTADDR": "10.0.0.1,10.0.0.2",
    }
    address = address_of("postgresql://", environ)
    assert (address.user, address.password, address.database) == ("you", "pw", "theirs")
    assert address.hosts == (Host("a", "10.0.0.1", 1), Host("b", "10.0.0.2", 2))
    address = address_of("postgresql://me:mine@h:3/db?hostaddr=10.0.0.3", environ)
    assert (address.user, address.password, address.database) == ("me", "mine", "db")
    assert address.hosts == (Host("h", "10.0.0.3", 3),)


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://me@a/db", [("a", 5432)]),
        ("postgresql:///db", [("", 5432)]),
        ("postgresql:///db?port=6432", [("", 6432)]),
        ("postgresql:///db?host=/run/a", [("/run/a", 5432)]),
        ("postgresql://me:p%40w@a,b:2/db", [("a", 5432), ("b", 2)]),
        ("postgres://[::1]:1,[::2],c/db", [("::1", 1), ("::2", 5432), ("c", 5432)]),
        ("postgresql://%2Frun%2Fa,%2Frun%2Fb/db", [("/run/a", 5432), ("/run/b", 5432)]),
        ("postgresql:///db?host=/a,b", [("/a", 5432), ("b", 5432)]),
        ("postgresql:///db?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql:///db?host=a,b&port=1", [("a", 1), ("b", 1)]),
        ("postgresql://a:1/db?host=b", [("b", 1)]),
    ],
)
def test_hosts_of_an_address(dsn: str, hosts: list[tuple[str, int]]) -> None:
    """
    Several hosts are tried one by one, each at its own port.
    """
    assert [(host.name, host.port) for host in address_of(dsn, {}).hosts] == hosts


NEON: Final = "ep-cool-darkness-123456.us-east-2.aws.neon.tech/dbname?sslmode=require"


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://alex:AbC123dEf@{NEON}&channel_binding=require",
        f"postgres://alex:AbC123dEf@{NEON}&channel_binding=require&connect_timeout=15",
        f"postgres://alex:AbC123dEf@{NEON}&sslnegotiation=direct&channel_binding=require",
        "postgresql://postgres.abc:pw@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
        "postgres://avnadmin:pw@pg-1.aivencloud.com:12345/defaultdb?sslmode=require",
        "postgresql://root:pw@cockroachlabs.cloud:26257/db?options=--cluster%3Dcool-1",
        "postgresql://me@%2Fcloudsql%2Fproject%3Aregion%3Ainstance/db",
    ],
)
def test_addresses_of_hosted_databases_are_taken(dsn: str) -> None:
    """
    What a provider hands out is used as it is.
    """
    assert address_of(dsn, {"HOME": "/nowhere"}).database


PIECES: Final = st.sampled_from(
    (
        *":/?@#&=%[],+ ",
        "a",
        "1",
        "é",
        "%40",
        "%2F",
        "%zz",
        "%00",
        "user=",
        "port=",
        "sslmode=",
        "::1",
    )
)


@given(st.lists(PIECES, max_size=14).map("".join))
@example("u:p?w#x@h/db?password=a+b")
@example("[::1]:1,b/")
@example("h,:2/?user=%C3%A9")
def test_addresses_mean_what_they_mean_to_libpq(text: str) -> None:
    """
    Whatever stands in an address, it is refused or taken apart into what libpq makes of it.
    """
    meant = libpq.parsed(f"postgresql://{text}")
    try:
        found = _split(f"postgresql://{text}")
    except BadAddress:
        assert meant is None or is_refused_on_purpose(text, meant)
        return
    if meant is None:  # libpq wants spaces to be escaped, and a second = in a value
        assert re.search("=[^&]*=", text.partition("?")[2]) or " " in text
        return
    assert said_by(found) == said_by(meant)


def said_by(values: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value.strip(",")}


def is_refused_on_purpose(text: str, meant: dict[str, str]) -> bool:
    """Whether libpq takes what is no host or port, probably part of a password, or no text."""
    hosts_and_database = re.sub("^[^@/]*@", "", text).partition("?")[0]
    before_query = libpq.parsed(f"postgresql://{hosts_and_database}") or {}
    has_port = re.fullmatch("[0-9,]*", before_query.get("port", "")) is not None
    is_text = "\ufffd" not in "".join(meant.values())  # else it is not UTF-8
    return not (has_port and is_text) or re.search(r"[][@ ]", hosts_and_database) is not None


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:hunter2@127.0.0.1:1/db",
        "postgresql://me:hunter2/x@127.0.0.1:1/db",
        "postgresql://me:hunter2@x@127.0.0.1:1/db",
        "postgresql://me:hunter2?x@127.0.0.1:1/db",
        "postgresql://me:1/hunter2@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=hunter2",
        "postgresql://127.0.0.1:1/db?user=me&password=a&hunter2",
        "postgresql://127.0.0.1:1/db?user=me&password=a&hunter2=b",
        "postgresql://127.0.0.1:1/db?user=me&password=%zhunter2",
        "postgresql://127.0.0.1:port/db?user=me&password=hunter2",
        "postgresql://127.0.0.1:1/db?password=hunter2&requirepeer=x",
        "postgresql://127.0.0.1:1/db?sslmode=require&sslpassword=hunter2&sslcert=/x&sslkey=/x",
        "mysql://me:hunter2@127.0.0.1:1/db",
        "me:hunter2",
    ],
)
def test_no_password_is_shown(dsn: str) -> None:
    """
    Neither what a database is called, nor a refusal, nor what an address looks like in a log.
    """
    try:
        said = repr(address_of(dsn, {}))
    except BadAddress as error:
        said = str(error)
    assert "hunter2" not in said + shown(dsn)


async def test_what_is_passed_over_is_logged_once(
    fast_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    An operator reads at the start what is not honoured, and not at every connection.
    """
    store = PostgresStore(f"{fast_dsn}&load_balance_hosts=random", allow_unsafe=True)
    with caplog.at_level(logging.WARNING):
        await store.open()
        await store.close()
    (record,) = caplog.records
    assert "database: load_balance_hosts is ignored: the host that" in record.getMessage()


async def test_session_has_what_the_address_says(fast_dsn: str) -> None:
    """
    The name of the application and the options of an address reach the server.
    """
    dsn = f"{fast_dsn}&application_name=mine&options=-c%20lock_timeout%3D1234"
    store = PostgresStore(dsn, allow_unsafe=True)
    await store.open()
    sql = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'mine'"
    assert await run_sql(fast_dsn, sql) == [(1,)]
    async with store._database.connections.writer() as connection:
        assert await connection.fetchval("SHOW lock_timeout") == "1234ms"
    await store.close()

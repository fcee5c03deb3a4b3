"""The table of settings: one row for each, which is also the field that holds its value."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from fastpaca.settings import parsing
from fastpaca.settings.parsing import RateLimit, integer, one_of, path_of, size, switch


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One row of the table.

    Attributes:
        name: The field of `Settings`, and the name of the flag in parsed arguments.
        variable: The environment variable.
        default: The text that the default stands for; empty if there is none.
        help: What it means, for `fastpaca serve --help`.
        parse: Returns the value of a text; raises ValueError with what would be right.
        metavar: What the help shows in place of a value.
        fills: Another setting, if the value of this one is the path of a file with its value.
    """

    name: str
    variable: str
    default: str
    help: str
    parse: Callable[[str], Any]
    metavar: str
    fills: str | None = None

    @property
    def flag(self) -> str:
        """The flag of `fastpaca serve`, named like the variable."""
        return "--" + self.variable.removeprefix("FASTPACA_").replace("_", "-").lower()


def _row(
    variable: str,
    default: str,
    parse: Callable[[str], Any],
    metavar: str,
    meaning: str,
    *,
    unset: Any = None,
    secret: str | None = None,
) -> Any:
    """
    Return a field with its row.

    *unset* is the value if there is no *default*. A *secret* is not shown, and may stand in a file
    instead: it says what that file holds, if there is a setting for it.
    """
    row = Setting("", variable, default, meaning, parse, metavar)
    value = parse(default) if default else unset
    return field(default=value, repr=secret is None, metadata={"row": row, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator has decided about one node."""

    # fmt: off
    # ruff: noqa: RUF009 - a row is a field
    host: str = _row(
        "FASTPACA_HOST", "127.0.0.1", parsing.host, "HOST",
        "the address to listen on, or unix: and the path of a socket",
    )
    port: int = _row(
        "PORT", "4000", integer(0, 65_535, "; 0 picks a free port"), "N",
        "the port to listen on; 0 picks a free one",
    )
    data_dir: Path = _row(
        "FASTPACA_DATA_DIR", "./fastpaca-data", path_of("a directory"), "DIR",
        "the directory that holds the data; created if it is missing",
    )
    store: str = _row(
        "FASTPACA_STORE", "sqlite", parsing.store, "STORE",
        "sqlite keeps everything in the data directory, postgresql://… in a database that nodes"
        " can share; memory loses everything when the node stops",
        secret="the address of the store",
    )
    db_pool_size: int = _row(
        "DB_POOL_SIZE", "10", integer(2, 1000), "N", "the most connections to PostgreSQL"
    )
    migrate_on_boot: bool = _row(
        "MIGRATE_ON_BOOT", "true", switch, "true|false",
        "whether the node migrates the schema in PostgreSQL when it starts",
    )
    allow_unsafe_postgres: bool = _row(
        "FASTPACA_ALLOW_UNSAFE_POSTGRES", "false", switch, "true|false",
        "whether to accept a PostgreSQL server that may lose acknowledged writes",
    )
    archiver_enabled: bool = _row(
        "FASTPACA_ARCHIVER_ENABLED", "false", switch, "true|false",
        "whether a node on SQLite keeps a second copy of its logs in PostgreSQL and trims its own",
    )
    # The two addresses are checked only if there is an archive: many environments have a
    # DATABASE_URL for another program.
    database_url: str = _row(
        "DATABASE_URL", "", str, "URL",
        "the address of the archive, such as postgresql://user@host/database",
        unset="", secret="the address of the archive",
    )
    postgres_url: str = _row(
        "FASTPACA_POSTGRES_URL", "", str, "URL", "the same as DATABASE_URL, and overrides it",
        unset="", secret="",
    )
    archive_flush_interval_ms: int = _row(
        "FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS", "5000", integer(1, 3_600_000), "MS",
        "how long the archiver waits when everything is archived, in milliseconds",
    )
    archiver_batch_size: int = _row(
        "FASTPACA_ARCHIVER_BATCH_SIZE", "5000", integer(1, 100_000), "N",
        "the most messages sent to the archive at once",
    )
    tail_keep: int = _row(
        "FASTPACA_TAIL_KEEP", "1000", integer(0, 1_000_000_000), "N",
        "how many archived messages of each context stay in the data directory",
    )
    api_keys: tuple[str, ...] = _row(
        "FASTPACA_API_KEY", "", parsing.api_keys, "KEY",
        "the key that clients must send, or several separated by commas",
        unset=(), secret="the key",
    )
    cors_origins: tuple[str, ...] = _row(
        "FASTPACA_CORS_ORIGINS", "", parsing.cors_origins, "ORIGINS",
        "the origins whose pages may call this node from a browser, separated by commas",
        unset=(),
    )
    token_estimator: str = _row(
        "FASTPACA_TOKEN_ESTIMATOR", "tiktoken:gpt-4o", parsing.token_estimator, "NAME",
        "how to count tokens: tiktoken:MODEL, tiktoken:ENCODING, or chars (4 per token)",
    )
    rate_limit: RateLimit | None = _row(
        "FASTPACA_RATE_LIMIT", "off", parsing.rate_limit, "LIMIT",
        "the most requests per key or address, such as 100/second (or minute, hour)",
    )
    body_bytes_max: int = _row(  # a message is a row, and SQLite ends a row at 10**9 bytes
        "FASTPACA_MAX_BODY_BYTES", "16MiB", size("512MiB"), "SIZE", "the largest request body"
    )
    body_memory_bytes: int = _row(
        "FASTPACA_BODY_MEMORY_BYTES", "256MiB", size("1024GiB"), "SIZE",
        "the memory for large bodies of requests and responses",
    )
    hot_bytes: int = _row(
        "FASTPACA_HOT_BYTES", "256MiB", size("1024GiB"), "SIZE",
        "the memory for contexts in use",
    )
    stream_connections_max: int = _row(
        "FASTPACA_STREAM_MAX_CONNECTIONS", "512",
        integer(0, 999_999, "; 0 allows no streams"), "N",
        "the most simultaneous live streams",
    )
    keepalive_seconds: int = _row(
        "FASTPACA_KEEPALIVE_SECONDS", "75", integer(1, 86_400), "N",
        "how long a connection may be idle between two requests, in seconds",
    )
    metrics_public: bool = _row(
        "FASTPACA_METRICS_PUBLIC", "false", switch, "true|false",
        "whether /metrics is served without a key",
    )
    node_name: str = _row(
        "FASTPACA_NODE_NAME", "", parsing.node_name, "NAME",
        "the name of this node; the host name by default",
        unset=socket.gethostname() or "localhost",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _row(
        "FASTPACA_LOG_LEVEL", "info", one_of("debug", "info", "warning", "error"), "LEVEL",
        "the lowest level to log: debug, info, warning or error",
    )
    # fmt: on

    @property
    def is_postgres(self) -> bool:
        """Whether `store` is the address of a PostgreSQL database."""
        return self.store not in ("sqlite", "memory")

    @property
    def archive_url(self) -> str:
        """The address of the archive; fastpaca's own variable wins."""
        return self.postgres_url or self.database_url

    @property
    def archive_source(self) -> str:
        """The variable that the address of the archive is from."""
        return "FASTPACA_POSTGRES_URL" if self.postgres_url else "DATABASE_URL"

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket to listen on instead of an address."""
        prefix, colon, path = self.host.partition(":")
        return Path(path) if (prefix, colon) == ("unix", ":") else None

    @property
    def is_loopback(self) -> bool:
        """
        Only programs on this machine can reach the node.

        A host name other than `localhost` counts as reachable, since it may resolve to anything.
        """
        if self.socket_path is not None or self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def checks_host(self) -> bool:
        """
        Whether the node refuses requests that do not name this machine.

        No page of the web can make a browser talk to a Unix socket, so nothing is checked there.
        """
        return self.is_loopback and not self.api_keys and self.socket_path is None


def _rows() -> Iterator[Setting]:
    """Yield the rows of all fields, and after each secret the row of the file that may hold it."""
    for one in fields(Settings):
        row, secret = one.metadata["row"], one.metadata["secret"]
        yield replace(row, name=one.name)
        if secret:
            variable = f"{row.variable}_FILE"
            yield Setting(
                name=variable.removeprefix("FASTPACA_").lower(),
                variable=variable,
                default="",
                help=f"a file that contains {secret}",
                parse=path_of("a file that contains the value"),
                metavar="FILE",
                fills=one.name,
            )


SETTINGS: Final = tuple(_rows())
"""All settings, those that name files included."""

"""
What an operator can set, from environment variables and from flags of `fastpaca serve`.

`SETTINGS` is the table of all of it: the flags, the documentation's check and the parsing are made
from it. A value is parsed once, here, into a `Settings` that cannot be wrong; what cannot be used
raises a `SettingsError` whose sentence names the variable or flag and says what would be right.

Precedence: flag, then environment variable, then default. An empty variable counts as not set,
except for the API key: a secret that came out empty by accident must not open the node to everyone.

A secret may stand in a file, as orchestrators hand them out, and its path in a setting of its own
(`Setting.fills`). The value and the path are two ways to say the same, so one excludes the other.

This is the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

MIB: Final = 1024 * 1024


class SettingsError(Exception):
    """A setting cannot be used. The message is a sentence for the operator and holds no secret."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many seconds."""

    count: int
    period_seconds: int


def _default_node_name() -> str:
    return socket.gethostname() or "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator has decided about one node."""

    host: str = "127.0.0.1"
    port: int = 4000
    data_dir: Path = Path("./fastpaca-data")
    store: str = field(default="sqlite", repr=False)  # an address may hold a password
    db_pool_size: int = 10
    migrate_on_boot: bool = True
    allow_unsafe_postgres: bool = False
    archiver_enabled: bool = False
    database_url: str = field(default="", repr=False)  # may hold a password
    postgres_url: str = field(default="", repr=False)  # the same
    archive_flush_interval_ms: int = 5000
    archiver_batch_size: int = 5000
    tail_keep: int = 1000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ()
    token_estimator: str = "tiktoken:gpt-4o"
    rate_limit: RateLimit | None = None
    max_body_bytes: int = 16 * MIB
    body_memory_bytes: int = 256 * MIB
    hot_bytes: int = 256 * MIB
    stream_max_connections: int = 512
    keepalive_seconds: int = 75
    metrics_public: bool = False
    node_name: str = field(default_factory=_default_node_name)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def is_postgres(self) -> bool:
        """Whether `store` is the address of a PostgreSQL database."""
        return self.store not in ("sqlite", "memory")

    @property
    def archive_url(self) -> str:
        """The address of the archive; the variable that is ours alone wins."""
        return self.postgres_url or self.database_url

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket to listen on, in place of an address."""
        prefix, colon, path = self.host.partition(":")
        return Path(path) if (prefix, colon) == ("unix", ":") else None

    @property
    def checks_host(self) -> bool:
        """
        Whether only requests that name this machine are answered.

        No page of the web can make a browser talk to a Unix socket, so nothing is checked there.
        """
        return self.is_loopback and not self.api_keys and self.socket_path is None

    @property
    def archive_source(self) -> str:
        """The variable that the address of the archive is from."""
        return "FASTPACA_POSTGRES_URL" if self.postgres_url else "DATABASE_URL"

    @property
    def is_loopback(self) -> bool:
        """
        Only programs on this machine can reach the node.

        A host name other than `localhost` counts as reachable, whatever it resolves to today.
        """
        if self.socket_path is not None:
            return True
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One row of the table: what a setting is called, its default, how its text is read.

    *fills* names another setting, if this one is the path of a file that holds the other's value.
    """

    name: str
    variable: str
    default: str
    help: str
    parse: Callable[[str], Any]
    metavar: str = "VALUE"
    fills: str | None = None

    @property
    def flag(self) -> str:
        """The flag of `fastpaca serve`, named like the variable."""
        return "--" + self.variable.removeprefix("FASTPACA_").replace("_", "-").lower()


# --- parsing: each takes the text of a value, and raises ValueError with what would be right ---


SOCKET_PATH_BYTES_MAX: Final = 103
"""The longest path of a Unix socket: 104 bytes with a NUL on macOS and the BSDs, 108 on Linux."""


def _parse_host(text: str) -> str:
    if text.startswith("unix:"):
        return f"unix:{_parse_socket_path(text.removeprefix('unix:'))}"
    host = text[1:-1] if re.fullmatch(r"\[.*:.*\]", text) else text
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _is_host_name(host):
            raise ValueError(
                "must be an IP address or a host name, such as 127.0.0.1, ::1 or 0.0.0.0,"
                " or unix: and the path of a socket"
            ) from None
    return host


def _parse_socket_path(text: str) -> Path:
    path = _parse_path(text)
    if not path.name or "\0" in text or not 0 < len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        raise ValueError(
            "must name the path of a socket behind unix:, such as unix:/run/fastpaca/socket,"
            f" of at most {SOCKET_PATH_BYTES_MAX} bytes"
        )
    return path


def _is_host_name(text: str) -> bool:
    labels = text.removesuffix(".").split(".")
    # A last label of digits is a mistyped IPv4 address; resolvers disagree about what it means.
    return (
        len(text) <= 253
        and all(re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", label) for label in labels)
        and not labels[-1].isdigit()
    )


def _parse_port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ValueError("must be an integer from 0 to 65535, where 0 takes any free port")
    return int(text)


def _parse_data_dir(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("must be the path of a directory")
    return _parse_path(text)


def _parse_secret_file(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("must be the path of a file that holds the value")
    return _parse_path(text)


def _parse_path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError("begins with the home directory of a user who is not known here") from None


def _parse_store(text: str) -> str:
    # The address may hold a password, so no message repeats it.
    if re.match(r"postgres(ql)?://", text):
        return text
    if text.lower() not in ("sqlite", "memory"):
        raise ValueError(
            "must be sqlite, memory, or the address of a PostgreSQL database, such as"
            " postgresql://user@host/database"
        )
    return text.lower()


def _parse_pool_size(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 2 <= int(text) <= 1000:
        raise ValueError("must be an integer from 2 to 1000")
    return int(text)


def _count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError(f"must be an integer from {least} to {most}")
        return int(text)

    return parse


def _parse_api_keys(text: str) -> tuple[str, ...]:
    keys = _comma_separated(text)
    if not keys:
        raise ValueError("is set but holds no key; name one, or unset it to run without")
    # A key travels in a header, where other characters do not arrive as they were sent.
    if not all(re.fullmatch(r"[!-~]+", key) for key in keys):
        raise ValueError("must consist of printable ASCII characters without spaces")
    return keys


def _parse_cors_origins(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_parse_origin(origin) for origin in _comma_separated(text)))


def _parse_origin(text: str) -> str:
    """Bring *text* into the form in which browsers send an origin."""
    wanted = ValueError(
        "must list origins, each a scheme, a host and perhaps a port, such as"
        " https://app.example.com or http://localhost:3000"
    )
    try:
        url = urlsplit(text.lower())
        port = url.port
    except ValueError:
        raise wanted from None
    if not (url.scheme and url.hostname) or "@" in url.netloc or re.search(r"[\s*]", text):
        raise wanted
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise wanted
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    is_default_port = port is None or (url.scheme, port) in {("http", 80), ("https", 443)}
    return f"{url.scheme}://{host}" + ("" if is_default_port else f":{port}")


def _parse_token_estimator(text: str) -> str:
    if text != "chars" and not re.fullmatch(r"tiktoken:[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}", text):
        raise ValueError(
            "must be chars, or tiktoken: and the name of a model or an encoding,"
            " such as tiktoken:gpt-4o or tiktoken:o200k_base"
        )
    return text


_PERIODS: Final = {"second": 1, "minute": 60, "hour": 3600}


def _parse_rate_limit(text: str) -> RateLimit | None:
    if text.lower() == "off":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})\s*/\s*(second|minute|hour)", text, re.IGNORECASE)
    if not match:
        raise ValueError("must be off, or a count per second, minute or hour, such as 100/second")
    return RateLimit(int(match[1]), _PERIODS[match[2].lower()])


_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": MIB,
    "gib": 1024 * MIB,
}


def _size(maximum: str, maximum_bytes: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,16})\s*([A-Za-z]*)", text)
        unit = _UNITS.get(match[2].lower()) if match else None
        if not match or unit is None or not 1 <= int(match[1]) * unit <= maximum_bytes:
            raise ValueError(
                f"must be a number of bytes from 1 to {maximum}, such as 16777216 or 16MiB"
            )
        return int(match[1]) * unit

    return parse


def _parse_connections(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError("must be an integer from 0 to 999999, where 0 allows no streams")
    return int(text)


def _parse_switch(text: str) -> bool:
    return _one_of("true", "false")(text) == "true"


def _parse_node_name(text: str) -> str:
    if not 1 <= len(text) <= 255 or not text.isprintable():
        raise ValueError("must be 1 to 255 printable characters")
    return text


def _one_of(*values: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in values:
            raise ValueError(f"must be {', '.join(values[:-1])} or {values[-1]}")
        return text.lower()

    return parse


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


# --- the tables ---

SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "host",
        "FASTPACA_HOST",
        "127.0.0.1",
        "the address to listen on, or unix: and the path of a socket",
        _parse_host,
        "HOST",
    ),
    Setting("port", "PORT", "4000", "the port to listen on; 0 takes a free one", _parse_port, "N"),
    Setting(
        "data_dir",
        "FASTPACA_DATA_DIR",
        "./fastpaca-data",
        "the directory that holds the data; made if it is missing",
        _parse_data_dir,
        "DIR",
    ),
    Setting(
        "store",
        "FASTPACA_STORE",
        "sqlite",
        "sqlite keeps everything in the data directory, postgresql://… in a database that nodes"
        " can share, memory forgets it at the end",
        _parse_store,
        "STORE",
    ),
    Setting(
        "store_file",
        "FASTPACA_STORE_FILE",
        "",
        "a file that holds the address of the store",
        _parse_secret_file,
        "FILE",
        fills="store",
    ),
    Setting(
        "db_pool_size",
        "DB_POOL_SIZE",
        "10",
        "the most connections to PostgreSQL",
        _parse_pool_size,
        "N",
    ),
    Setting(
        "migrate_on_boot",
        "MIGRATE_ON_BOOT",
        "true",
        "whether a start brings the schema in PostgreSQL up to date",
        _parse_switch,
        "true|false",
    ),
    Setting(
        "allow_unsafe_postgres",
        "FASTPACA_ALLOW_UNSAFE_POSTGRES",
        "false",
        "whether to take a PostgreSQL that may lose what it has acknowledged",
        _parse_switch,
        "true|false",
    ),
    Setting(
        "archiver_enabled",
        "FASTPACA_ARCHIVER_ENABLED",
        "false",
        "whether a node on SQLite keeps a second copy of its logs in PostgreSQL, and trims its own",
        _parse_switch,
        "true|false",
    ),
    Setting(
        # Whether it can be used is looked at if there is an archive: in many environments it stands
        # for the sake of another program.
        "database_url",
        "DATABASE_URL",
        "",
        "the address of the archive, such as postgresql://user@host/database",
        str,
        "URL",
    ),
    Setting(
        "database_url_file",
        "DATABASE_URL_FILE",
        "",
        "a file that holds the address of the archive",
        _parse_secret_file,
        "FILE",
        fills="database_url",
    ),
    Setting(
        "postgres_url",
        "FASTPACA_POSTGRES_URL",
        "",
        "the same, and wins where both are set",
        str,
        "URL",
    ),
    Setting(
        "archive_flush_interval_ms",
        "FASTPACA_ARCHIVE_FLUSH_INTERVAL_MS",
        "5000",
        "how long messages may wait for the archive, in milliseconds",
        _count(1, 3_600_000),
        "MS",
    ),
    Setting(
        "archiver_batch_size",
        "FASTPACA_ARCHIVER_BATCH_SIZE",
        "5000",
        "the most messages that go to the archive at once",
        _count(1, 100_000),
        "N",
    ),
    Setting(
        "tail_keep",
        "FASTPACA_TAIL_KEEP",
        "1000",
        "how many messages of a context stay in the data directory once they are archived",
        _count(0, 1_000_000_000),
        "N",
    ),
    Setting(
        "api_keys",
        "FASTPACA_API_KEY",
        "",
        "the key that clients must send; several are separated by commas",
        _parse_api_keys,
        "KEY",
    ),
    Setting(
        "api_key_file",
        "FASTPACA_API_KEY_FILE",
        "",
        "a file that holds the key",
        _parse_secret_file,
        "FILE",
        fills="api_keys",
    ),
    Setting(
        "cors_origins",
        "FASTPACA_CORS_ORIGINS",
        "",
        "the origins whose pages may call this node from a browser, separated by commas",
        _parse_cors_origins,
        "ORIGINS",
    ),
    Setting(
        "token_estimator",
        "FASTPACA_TOKEN_ESTIMATOR",
        "tiktoken:gpt-4o",
        "how tokens are counted: tiktoken:MODEL, tiktoken:ENCODING, or chars (4 a token)",
        _parse_token_estimator,
        "NAME",
    ),
    Setting(
        "rate_limit",
        "FASTPACA_RATE_LIMIT",
        "off",
        "the most requests per key or address, such as 100/second (or minute, hour)",
        _parse_rate_limit,
        "LIMIT",
    ),
    Setting(
        # One message is one row, and SQLite ends a row at 10**9 bytes.
        "max_body_bytes",
        "FASTPACA_MAX_BODY_BYTES",
        "16MiB",
        "the largest request body",
        _size("512MiB", 512 * MIB),
        "SIZE",
    ),
    Setting(
        "body_memory_bytes",
        "FASTPACA_BODY_MEMORY_BYTES",
        "256MiB",
        "the memory for large bodies of requests and responses",
        _size("1024GiB", 1024 * 1024 * MIB),
        "SIZE",
    ),
    Setting(
        "hot_bytes",
        "FASTPACA_HOT_BYTES",
        "256MiB",
        "the memory for contexts that are in use",
        _size("1024GiB", 1024 * 1024 * MIB),
        "SIZE",
    ),
    Setting(
        "stream_max_connections",
        "FASTPACA_STREAM_MAX_CONNECTIONS",
        "512",
        "the most live streams at the same time",
        _parse_connections,
        "N",
    ),
    Setting(
        "keepalive_seconds",
        "FASTPACA_KEEPALIVE_SECONDS",
        "75",
        "how long a connection may be idle between two requests",
        _count(1, 86_400),
        "N",
    ),
    Setting(
        "metrics_public",
        "FASTPACA_METRICS_PUBLIC",
        "false",
        "whether /metrics answers without a key",
        _parse_switch,
        "true|false",
    ),
    Setting(
        "node_name",
        "FASTPACA_NODE_NAME",
        "",
        "how this node calls itself (default: the host name)",
        _parse_node_name,
        "NAME",
    ),
    Setting(
        "log_level",
        "FASTPACA_LOG_LEVEL",
        "info",
        "debug, info, warning or error",
        _one_of("debug", "info", "warning", "error"),
        "LEVEL",
    ),
)

# Variables of the original fastpaca. Passed over in silence, data would land where nobody looks.
_FOREIGN_VARIABLES: Final[Mapping[str, str]] = {
    "FASTPACA_RAFT_DATA_DIR": "has no meaning here; name the data directory in FASTPACA_DATA_DIR",
    "FASTPACA_CLUSTER_SEED": (
        "has no meaning here, as nodes do not form clusters;"
        " unset it, one node keeps everything in FASTPACA_DATA_DIR"
    ),
}

# What Kubernetes puts into the environment of every pod for each service in its namespace, and what
# the values look like: kubernetes.io/docs/tutorials/services/connect-applications-service.
# A service named fastpaca, or fastpaca-proxy, makes such variables with the prefix of ours.
_SERVICE_LINKS: Final = (
    (r"FASTPACA(_\w+)?_SERVICE_HOST", r"[0-9A-Fa-f.:]+"),
    (r"FASTPACA(_\w+)?_PORT(_\d+_[A-Z]+)?", r"(tcp|udp|sctp)://\S+:\d+"),
    (r"FASTPACA(_\w+)?_PORT_\d+_[A-Z]+_ADDR", r"[0-9A-Fa-f.:]+"),
    (r"FASTPACA(_\w+)?_PORT_\d+_[A-Z]+_PORT", r"\d+"),
    (r"FASTPACA(_\w+)?_PORT_\d+_[A-Z]+_PROTO", r"tcp|udp|sctp"),
)
_SERVICE_PORT: Final = re.compile(r"(FASTPACA(_\w+)?)_SERVICE_PORT(_\w+)?")


# --- reading ---


def load(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """
    Read the settings from *flags*, then from *environ*, by default the process's own.

    *flags* maps names of settings to the text that was given on the command line, or to None;
    other keys are ignored, so that `vars()` of an `argparse.Namespace` will do.

    Raises:
        SettingsError: A value cannot be used, or a variable is not known.
    """
    given = {name: str(text) for name, text in (flags or {}).items() if text is not None}
    env = os.environ if environ is None else environ
    _check_names(env)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        # Where there is no archive its address stands for the sake of another program.
        is_idle = setting.name == "database_url" and not values.get("archiver_enabled")
        if setting.fills is None and (text := _text(setting, given, env, is_idle=is_idle)):
            values[setting.name] = _value(setting, *text)
    settings = Settings(**values)
    _check_archive(settings)
    return settings


def load_store(flag: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """
    Read which store a command is for: from its *flag*, or from the variable that a node reads.

    Raises:
        SettingsError: It cannot be used.
    """
    setting = next(found for found in SETTINGS if found.name == "store")
    env = os.environ if environ is None else environ
    text = _text(setting, {} if flag is None else {"store": flag}, env)
    return str(_value(setting, *(text or (setting.variable, setting.default))))


def load_api_key(environ: Mapping[str, str] | None = None) -> str | None:
    """
    Read the key that a command sends to a node: the first one of those that the node reads.

    Raises:
        SettingsError: The variable, or the file that one names, holds no usable key.
    """
    setting = next(found for found in SETTINGS if found.name == "api_keys")
    env = os.environ if environ is None else environ
    # A node would refuse an empty variable, but a command has no need of a key.
    text = _text(setting, {}, {name: text for name, text in env.items() if text})
    return None if text is None else parse_api_keys(text[1], text[0])[0]


def parse_api_keys(text: str, source: str) -> tuple[str, ...]:
    """
    Read the keys in *text*, which stands in the variable or flag *source*.

    Raises:
        SettingsError: There is none, or one could not be sent in a header.
    """
    try:
        return _parse_api_keys(text)
    except ValueError as error:
        raise SettingsError(f"{source} {error}.") from None


def _text(
    setting: Setting,
    given: Mapping[str, str],
    env: Mapping[str, str],
    *,
    is_idle: bool = False,
) -> tuple[str, str] | None:
    """
    Find the text of *setting*, and say where it stands: `(source, text)`; None if it is not set.

    A file is not looked for if the setting *is_idle*.

    Raises:
        SettingsError: It is set in two ways, or stands in a file that cannot be read.
    """
    in_file = next((found for found in SETTINGS if found.fills == setting.name), None)
    ways = (setting,) if in_file is None or is_idle else (setting, in_file)
    in_flags = {way.flag: given[way.name] for way in ways if way.name in given}
    in_variables = {way.variable: env[way.variable] for way in ways if _is_set(way, env)}
    found = in_flags or in_variables
    if len(found) > 1:
        raise SettingsError(f"{' and '.join(found)} are both set; unset one of them.")
    for source, text in found.items():
        if in_file is not None and source in (in_file.flag, in_file.variable):
            path = _value(in_file, source, text)
            assert isinstance(path, Path)
            return f"The value in the file of {source}", _secret(source, path)
        return source, text
    return None


SECRET_BYTES_MAX: Final = 64 * 1024
"""No secret is larger; a file that is was named by mistake."""


def _secret(source: str, path: Path) -> str:
    # Neither the text nor the path is repeated: a secret may have landed in place of the path.
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{source} names a file that cannot be read: {reason}.") from None
    if len(data) > SECRET_BYTES_MAX:
        raise SettingsError(f"{source} names a file of more than {SECRET_BYTES_MAX} bytes.")
    try:
        text = data.decode().strip()
    except UnicodeDecodeError:
        raise SettingsError(f"{source} names a file that is not UTF-8 text.") from None
    if not text:
        raise SettingsError(f"{source} names an empty file; write the value into it.")
    return text


def _is_set(setting: Setting, env: Mapping[str, str]) -> bool:
    text = env.get(setting.variable)
    is_key = "api_keys" in (setting.name, setting.fills)
    return text is not None and (text.strip() != "" or is_key)


def _value(setting: Setting, source: str, text: str) -> object:
    try:
        return setting.parse(text.strip())
    except ValueError as error:
        # The text itself is not repeated: a password may have landed in the wrong variable.
        raise SettingsError(f"{source} {error}.") from None


def _check_names(env: Mapping[str, str]) -> None:
    known = frozenset(setting.variable for setting in SETTINGS)
    for name in sorted(env):
        if name in _FOREIGN_VARIABLES:
            raise SettingsError(f"{name} {_FOREIGN_VARIABLES[name]}.")
        is_ours = name.startswith("FASTPACA_") and not _is_service_link(name, env)
        if is_ours and name not in known:
            raise SettingsError(f"{name} is not a known variable; {_nearest(name, known)}.")


def _is_service_link(name: str, env: Mapping[str, str]) -> bool:
    """Whether Kubernetes has set the variable *name*, by what it is called and what it holds."""
    if any(re.fullmatch(n, name) and re.fullmatch(v, env[name]) for n, v in _SERVICE_LINKS):
        return True
    # A number alone may be the port that somebody meant to set, so it counts with its host only.
    port = _SERVICE_PORT.fullmatch(name)
    return port is not None and f"{port[1]}_SERVICE_HOST" in env and env[name].isdigit()


def _nearest(name: str, known: frozenset[str]) -> str:
    # Compared without the prefix, which would make everything look alike.
    by_suffix = {other.removeprefix("FASTPACA_"): other for other in sorted(known)}
    suffix = name.removeprefix("FASTPACA_").upper()
    matches = difflib.get_close_matches(suffix, by_suffix, n=1, cutoff=0)
    return f"the nearest one is {by_suffix[matches[0]]}"


def _check_archive(settings: Settings) -> None:
    if not settings.archiver_enabled:
        return
    name = "FASTPACA_ARCHIVER_ENABLED"
    if settings.store != "sqlite":
        raise SettingsError(
            f"{name} is for a node that keeps its data in SQLite; unset it, or FASTPACA_STORE."
        )
    if not settings.archive_url:
        raise SettingsError(f"{name} needs the address of the archive in DATABASE_URL.")
    if not re.match(r"postgres(ql)?://", settings.archive_url):
        raise SettingsError(
            f"{settings.archive_source} must be the address of a PostgreSQL database, such as"
            " postgresql://user@host/database."
        )

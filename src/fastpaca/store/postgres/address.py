"""
The address of a PostgreSQL database, understood as libpq understands it.

    postgresql://user:password@host:port,host:port/database?parameter=value&…

It is parsed by libpq's rules, not by those of other URLs: a password may contain `?` and `#`, `+`
is not a space, and the query overrides what is before it. Missing values come from the service that
the address names, then from the environment (`PGHOST` and the like), then from libpq's defaults.
`parameters` says what becomes of each parameter.

No message repeats a value that could be part of a password.
"""

from __future__ import annotations

import difflib
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from fastpaca.store.postgres.files import home, service
from fastpaca.store.postgres.parameters import PARAMETERS, Parameter
from fastpaca.store.postgres.tls import Tls

PORT: Final = 5432

SOCKETS: Final = ("/run/postgresql", "/var/run/postgresql", "/tmp")  # noqa: S108  # nothing is made
"""Where PostgreSQL and its packages put the server's socket."""

APPLICATION_NAME: Final = "fastpaca"

_ESCAPES: Final = (
    "in a user name, password or database name, write characters such as : / @ and % as %3A %2F"
    " %40 and %25"
)


class BadAddress(Exception):
    """An address can't be used. The message is a clause that says why, without secrets."""


@dataclass(frozen=True, slots=True)
class Host:
    """
    A server.

    Attributes:
        name: Its name, also in its certificate; empty for a socket of this machine in one of the
            usual directories.
        address: Its address, if it differs from *name*.
        port: Its port, which is also a part of the name of a socket.
    """

    name: str
    address: str
    port: int

    @property
    def is_local(self) -> bool:
        """Whether it is reached through a socket of this machine."""
        return not self.address and (not self.name or self.name.startswith("/"))

    @property
    def targets(self) -> list[str]:
        """The addresses to try in turn."""
        return [self.address or self.name] if self.address or self.name else list(SOCKETS)

    def __str__(self) -> str:
        return self.name or self.address or "the local server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """
    What an address says, completed from the environment.

    Attributes:
        hosts: The hosts, at least one.
        user: The name of the user.
        password: The password; empty if there is none.
        passfile: The file to look up the password otherwise, or None.
        database: The name of the database.
        connect_seconds: How long to wait for each host; None means the default.
        settings: The settings to send at the start of a session.
        keepalive: The options of libpq for TCP, in its units.
        kerberos_service: The name of the Kerberos service.
        tls: How connections over TCP are encrypted.
        passed_over: A sentence for each parameter that is passed over.
    """

    hosts: tuple[Host, ...]
    user: str
    password: str = field(repr=False)
    passfile: Path | None
    database: str
    connect_seconds: int | None
    settings: Mapping[str, str]
    keepalive: Mapping[str, int]
    kerberos_service: str
    tls: Tls
    passed_over: tuple[str, ...]


def address_of(dsn: str, environ: Mapping[str, str] | None = None) -> Address:
    """
    Parse *dsn*, and complete it from *environ*, by default that of the process.

    Raises:
        BadAddress: It is invalid, or requires something that is not supported.
    """
    env = os.environ if environ is None else environ
    values = _completed(_split(dsn), env)
    numbers = {name: int(text) for name, text in values.items() if PARAMETERS[name].is_number}
    connect_seconds = numbers.pop("connect_timeout", 0)
    user = values.get("user") or _own_name()
    names = (values.get("application_name"), values.get("fallback_application_name"))
    settings = {"application_name": next(filter(None, names), APPLICATION_NAME)}
    if values.get("options"):
        settings["options"] = values["options"]
    tls = Tls.of(values, home(env))
    if (problem := tls.contradiction()) is not None:
        raise BadAddress(problem)
    return Address(
        hosts=_hosts(values),
        user=user,
        password=values.get("password", ""),
        passfile=_passfile(values, env),
        database=values.get("dbname") or user,
        connect_seconds=connect_seconds if connect_seconds > 0 else None,
        settings=settings,
        keepalive=numbers,
        kerberos_service=values.get("krbsrvname") or "postgres",
        tls=tls,
        passed_over=tuple(_notes(values)),
    )


def shown(dsn: str) -> str:
    """Return a name for the database at *dsn*, without secrets."""
    try:
        values = _split(dsn)
        hosts = [_with_port(*pair) for pair in _pairs(values)]
    except BadAddress:
        return "postgres"
    where = ",".join(hosts) or values.get("hostaddr") or "local socket"
    name = values.get("dbname")
    return f"postgres ({name} at {where})" if name else f"postgres (at {where})"


# --- parsing --------------------------------------------------------------------------------------

_SCHEME: Final = re.compile("postgres(?:ql)?://")

# An @ before the first / always ends it.
_WHO: Final = re.compile("(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@")

_WHERE: Final = re.compile(
    r"(?P<hosts>(?:\[[^\]]*\]|[^/?\[])*)(?:/(?P<dbname>[^?]*))?(?:\?(?P<query>.*))?", re.DOTALL
)

_HOST: Final = re.compile(r"(?:\[(?P<literal>[^\]]+)\]|(?P<name>[^:@\[\]]*))(?::(?P<port>[0-9]*))?")


def _split(dsn: str) -> dict[str, str]:
    """Parse *dsn* into parameters, each at most once."""
    scheme = _SCHEME.match(dsn)
    rest = dsn[scheme.end() :] if scheme else ""
    who = _WHO.match(rest)
    match = _WHERE.fullmatch(rest[who.end() :] if who else rest)
    # Another @ belongs to a password in which it, or a / before it, is not escaped.
    if scheme is None or match is None or "@" in match["hosts"] + (match["dbname"] or ""):
        raise BadAddress(f"it is invalid; {_ESCAPES}")
    parts = {**(who.groupdict() if who else {}), "dbname": match["dbname"]}
    values = {name: _decoded(text) for name, text in parts.items() if text}
    specs = [_HOST.fullmatch(spec) for spec in match["hosts"].split(",")]
    if None in specs:
        raise BadAddress(f"a host or port in it is invalid; write them as host:5432; {_ESCAPES}")
    hosts = [(spec["literal"] or spec["name"], spec["port"] or "") for spec in specs if spec]
    if match["hosts"]:
        values["host"] = ",".join(_decoded(name) for name, _ in hosts)
    if any(port for _, port in hosts):
        values["port"] = ",".join(port for _, port in hosts)
    is_past_password = False
    query = match["query"] or ""
    for pair in query.removesuffix("&").split("&") if query else ():
        name, separator, value = pair.partition("=")
        if is_past_password and name not in PARAMETERS:  # it may be a piece of it
            raise BadAddress("what follows the password is not a parameter; write & as %26")
        is_past_password = is_past_password or name == "password"
        name, value = _named(_decoded(name), has_value=bool(separator)), _decoded(value)
        values.update({"sslmode": "require"} if (name, value) == ("ssl", "true") else {name: value})
    return values


def _named(name: str, *, has_value: bool) -> str:
    if name not in PARAMETERS and name != "ssl":
        if not re.fullmatch(r"\w{1,40}", name):  # it may be a piece of a password
            raise BadAddress(f"a parameter in it is invalid; {_ESCAPES}")
        nearest = difflib.get_close_matches(name, PARAMETERS, n=1, cutoff=0)[0]
        raise BadAddress(
            f"{name} is not a libpq parameter; did you mean {nearest}? Write a server setting as"
            f" options=-c%20{name}%3D…"
        )
    if not has_value:
        raise BadAddress(f"{name} has no value; write {name}=…")
    return name


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise BadAddress(f"a % in it is not followed by two hexadecimal digits; {_ESCAPES}")
    try:
        return unquote(text.strip(), errors="strict")
    except UnicodeDecodeError:
        raise BadAddress("the characters escaped with % in it are not UTF-8") from None


# --- completing -----------------------------------------------------------------------------------


def _completed(said: dict[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return *said*, completed from the service and the environment, and checked."""
    values = dict(said)
    if values.pop("ssl", None) is not None:
        raise BadAddress("ssl must be true; use sslmode for anything else")
    for name, value in said.items():
        _check(PARAMETERS.get(name), name, value)
    name = values.get("service", env.get("PGSERVICE", ""))
    if name:
        try:
            of_service = service(name, env)
        except ValueError as error:
            raise BadAddress(str(error)) from None
        for key, value in of_service.items():
            _check(PARAMETERS.get(key), f"{key}, in the service {name},", value)
        values = {**of_service, **values}
    for parameter in PARAMETERS.values():
        value = env.get(parameter.variable, "") if parameter.variable else ""
        if value and parameter.name not in values:
            _check(parameter, parameter.variable, value)
            values[parameter.name] = value
    return {key: value for key, value in values.items() if value}


def _check(parameter: Parameter | None, source: str, value: str) -> None:
    """Refuse *value*, which is from *source*, if it is not possible for the parameter."""
    if parameter is None:
        raise BadAddress(f"{source} is not a libpq parameter")
    if not value:
        return
    if parameter.values and value not in parameter.values:
        *most, last = parameter.values
        raise BadAddress(f"{source} must be {', '.join(most)} or {last}")
    if parameter.is_number and not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise BadAddress(f"{source} must be an integer")
    if parameter.refused and value not in parameter.plain:
        raise BadAddress(f"{source} {parameter.refused}")


def _notes(values: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is ignored: {PARAMETERS[name].passed_over}"
        for name, value in values.items()
        if PARAMETERS[name].passed_over and value not in PARAMETERS[name].plain
    ]


def _own_name() -> str:
    """Return the name of the user of this process."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise BadAddress(
            f"it names no user, and the user id {os.geteuid()} of this process has no name on this"
            " machine; write postgresql://user@host/database, or set PGUSER"
        ) from None


def _passfile(values: Mapping[str, str], env: Mapping[str, str]) -> Path | None:
    if values.get("passfile"):
        return Path(values["passfile"])
    directory = home(env)
    return directory / ".pgpass" if directory else None


def _hosts(values: Mapping[str, str]) -> tuple[Host, ...]:
    """Return the hosts, each with its name, its address, if there is one, and its port."""
    addresses = values["hostaddr"].split(",") if values.get("hostaddr") else []
    pairs = _pairs(values) or _matched([""] * (len(addresses) or 1), values)
    if addresses and len(addresses) != len(pairs):
        raise BadAddress(f"hostaddr has {len(addresses)} entries for {len(pairs)} hosts")
    if any(name.startswith("@") for name, _ in pairs):
        raise BadAddress("host names an abstract socket, which fastpaca cannot use")
    whole = zip(pairs, addresses or [""] * len(pairs), strict=True)
    return tuple(Host(name, address, _port(port)) for (name, port), address in whole)


def _pairs(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the names of the hosts, with their ports as written."""
    return _matched(values["host"].split(","), values) if values.get("host") else []


def _matched(names: list[str], values: Mapping[str, str]) -> list[tuple[str, str]]:
    ports = values.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise BadAddress(f"port has {len(ports)} entries for {len(names)} hosts")
    return list(zip(names, ports, strict=True))


def _port(text: str) -> int:
    if not text:
        return PORT
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise BadAddress("port must be an integer from 1 to 65535")
    return int(text)


def _with_port(name: str, port: str) -> str:
    if not port or name.startswith("/"):
        return name
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

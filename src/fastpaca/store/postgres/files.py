"""
The service file and the password file that complete an address of PostgreSQL.

Their formats are those of libpq (postgresql.org/docs/18/libpq-pgservice.html and
libpq-pgpass.html). They are read for each connection, since operators change them.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

logger = logging.getLogger(__name__)


def home(env: Mapping[str, str]) -> Path | None:
    """Return the home directory: HOME, or else that of the user of this process."""
    if env.get("HOME"):
        return Path(env["HOME"])
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return None


def service(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """
    Read the parameters of the service *name* from the first file that has it.

    Raises:
        ValueError: No file has it, or one can't be read; the message is a clause.
    """
    files = list(_service_files(env))
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ValueError(f"the service file {path} cannot be read: {reason}") from None
        section = _section(text, name, path)
        if section is not None:
            return section
    looked = " or ".join(map(str, files)) or "any file: set PGSERVICEFILE"
    raise ValueError(f"the service {name} is not in {looked}")


def _service_files(env: Mapping[str, str]) -> Iterator[Path]:
    if env.get("PGSERVICEFILE"):
        yield Path(env["PGSERVICEFILE"])
    elif directory := home(env):
        yield directory / ".pg_service.conf"
    if env.get("PGSYSCONFDIR"):
        yield Path(env["PGSYSCONFDIR"]) / "pg_service.conf"


def _section(text: str, name: str, path: Path) -> dict[str, str] | None:
    """Return the first section with that name, or None."""
    section: dict[str, str] | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if section is not None:
                return section
            section = {} if line == f"[{name}]" else None
        elif section is not None:
            key, separator, value = line.partition("=")
            if not separator or key == "service":
                raise ValueError(f"line {number} of {path} is not a parameter with a value")
            section.setdefault(key, value)
    return section


def password(path: Path | None, host: str, port: int, database: str, user: str) -> str:
    """
    Return the password from a file such as ~/.pgpass, or an empty string.

    A socket is found under its directory, or as localhost. Like libpq, this ignores a file that
    other users can read.
    """
    if path is None:
        return ""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger.warning("the password file %s is ignored: other users can read it", path)
            return ""
        lines = path.read_text(encoding="utf-8").splitlines() if stat.S_ISREG(mode) else []
    except (OSError, UnicodeDecodeError):
        return ""
    hosts = {host or "localhost", "localhost"} if host.startswith("/") or not host else {host}
    for line in lines:
        if line.startswith("#"):
            continue
        fields = [
            re.sub(r"\\(.)", r"\1", text) for text in re.findall(r"((?:\\.|[^:\\])*)(?::|$)", line)
        ]
        if len(fields) < 5:
            continue
        wanted = (
            (hosts, fields[0]),
            ({str(port)}, fields[1]),
            ({database}, fields[2]),
            ({user}, fields[3]),
        )
        if all(field in ("*", *values) for values, field in wanted):
            return fields[4]
    return ""

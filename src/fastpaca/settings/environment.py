"""
Find the texts of all settings, and make `Settings` of them.

A flag wins over an environment variable, and that over the default. An empty variable counts as not
set, except for the API key: a secret that came out empty by accident must not open the node to
everyone.

A secret may stand in a file, as orchestrators provide it, and the path of that file in a setting of
its own (`Setting.fills`). The value and the path are two ways to say the same, so only one may be
set.

This is the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastpaca.settings.table import SETTINGS, Setting, Settings

SECRET_BYTES_MAX: Final = 64 * 1024
"""No secret is larger; a larger file was named by mistake."""


class SettingsError(Exception):
    """A setting cannot be used. The message is a sentence for the operator and holds no secret."""


# If these were ignored, data would land in a place that no operator expects.
FOREIGN_VARIABLES: Final[Mapping[str, str]] = {
    "FASTPACA_RAFT_DATA_DIR": "means nothing here; set FASTPACA_DATA_DIR instead",
    "FASTPACA_CLUSTER_SEED": (
        "means nothing here, because nodes do not form clusters; unset it, and one node keeps"
        " everything in FASTPACA_DATA_DIR"
    ),
}
"""Variables of the original fastpaca, and what to use instead."""

# What Kubernetes puts into the environment of every pod for each service in its namespace, and what
# the values look like: kubernetes.io/docs/tutorials/services/connect-applications-service.
# The variables of a service named fastpaca, or fastpaca-proxy, begin like ours.
_SERVICE_LINKS: Final = (
    (r"FASTPACA(_\w+)?_SERVICE_HOST", r"[0-9A-Fa-f.:]+"),
    (r"FASTPACA(_\w+)?_PORT(_\d+_[A-Z]+)?", r"(tcp|udp|sctp)://\S+:\d+"),
    (r"FASTPACA(_\w+)?_PORT_\d+_[A-Z]+_ADDR", r"[0-9A-Fa-f.:]+"),
    (r"FASTPACA(_\w+)?_PORT_\d+_[A-Z]+_PORT", r"\d+"),
    (r"FASTPACA(_\w+)?_PORT_\d+_[A-Z]+_PROTO", r"tcp|udp|sctp"),
)
_SERVICE_PORT: Final = re.compile(r"(FASTPACA(_\w+)?)_SERVICE_PORT(_\w+)?")


def load(
    flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """
    Return the settings in *flags* and in *environ*, by default the environment of the process.

    *flags* maps names of settings to their text on the command line, or to None. Other keys are
    ignored, so you can pass `vars()` of an `argparse.Namespace`.

    Raises:
        SettingsError: A value cannot be used, or a variable is not known.
    """
    texts = {name: str(text) for name, text in (flags or {}).items() if text is not None}
    env = os.environ if environ is None else environ
    _check_names(env)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        # Without an archive, its address is there for another program.
        is_idle = setting.name == "database_url" and not values.get("archiver_enabled")
        if setting.fills is None and (text := _text(setting, texts, env, is_idle=is_idle)):
            values[setting.name] = _value(setting, *text)
    settings = Settings(**values)
    _check_archive(settings)
    return settings


def load_store(flag: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """
    Return the store that a command is for: from its *flag*, or from the variable of a node.

    Raises:
        SettingsError: It cannot be used.
    """
    setting = _setting("store")
    env = os.environ if environ is None else environ
    text = _text(setting, {} if flag is None else {"store": flag}, env)
    return str(_value(setting, *(text or (setting.variable, setting.default))))


def load_api_key(environ: Mapping[str, str] | None = None) -> str | None:
    """
    Return the key that a command sends to a node: the first key of the node's own setting.

    Raises:
        SettingsError: The variable, or the file that one names, holds no usable key.
    """
    env = os.environ if environ is None else environ
    # A node would refuse an empty variable, but a command needs no key.
    text = _text(_setting("api_keys"), {}, {name: text for name, text in env.items() if text})
    return None if text is None else parse_api_keys(text[1], text[0])[0]


def parse_api_keys(text: str, source: str) -> tuple[str, ...]:
    """
    Return the keys in *text*, the value of the variable or flag *source*.

    Raises:
        SettingsError: There is none, or one could not be sent in a header.
    """
    keys = _value(_setting("api_keys"), source, text)
    assert isinstance(keys, tuple)
    return keys


def _setting(name: str) -> Setting:
    return next(setting for setting in SETTINGS if setting.name == name)


def _text(
    setting: Setting,
    flags: Mapping[str, str],
    env: Mapping[str, str],
    *,
    is_idle: bool = False,
) -> tuple[str, str] | None:
    """
    Return where *setting* is set, and its text; None if it is not set.

    A file is not read if the setting *is_idle*.

    Raises:
        SettingsError: It is set in two ways, or in a file that cannot be read.
    """
    in_file = next((other for other in SETTINGS if other.fills == setting.name), None)
    ways = (setting,) if in_file is None or is_idle else (setting, in_file)
    in_flags = {way.flag: flags[way.name] for way in ways if way.name in flags}
    in_variables = {way.variable: env[way.variable] for way in ways if _is_set(way, env)}
    texts = in_flags or in_variables
    if len(texts) > 1:
        raise SettingsError(f"{' and '.join(texts)} are both set; unset one of them.")
    for source, text in texts.items():
        if in_file is not None and source in (in_file.flag, in_file.variable):
            path = _value(in_file, source, text)
            assert isinstance(path, Path)
            return f"The value in the file named by {source}", _secret(source, path)
        return source, text
    return None


def _secret(source: str, path: Path) -> str:
    # Neither the text nor the path is repeated: it may be a secret, set by mistake.
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"{source} names an unreadable file: {reason}.") from None
    if len(data) > SECRET_BYTES_MAX:
        raise SettingsError(f"{source} names a file larger than {SECRET_BYTES_MAX} bytes.")
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
        raise SettingsError(f"{source} {error}.") from None


def _check_names(env: Mapping[str, str]) -> None:
    known = frozenset(setting.variable for setting in SETTINGS)
    for name in sorted(env):
        if name in FOREIGN_VARIABLES:
            raise SettingsError(f"{name} {FOREIGN_VARIABLES[name]}.")
        is_ours = name.startswith("FASTPACA_") and not _is_service_link(name, env)
        if is_ours and name not in known:
            raise SettingsError(f"{name} is an unknown variable; {_nearest(name, known)}")


def _is_service_link(name: str, env: Mapping[str, str]) -> bool:
    """Return whether Kubernetes has set the variable *name*, by its name and its value."""
    if any(re.fullmatch(n, name) and re.fullmatch(v, env[name]) for n, v in _SERVICE_LINKS):
        return True
    # A number may be meant as a setting, so it counts only if the host of the service is set too.
    port = _SERVICE_PORT.fullmatch(name)
    return port is not None and f"{port[1]}_SERVICE_HOST" in env and env[name].isdigit()


def _nearest(name: str, known: frozenset[str]) -> str:
    # Compare without the prefix, which would make all names look alike.
    by_suffix = {other.removeprefix("FASTPACA_"): other for other in sorted(known)}
    suffix = name.removeprefix("FASTPACA_").upper()
    matches = difflib.get_close_matches(suffix, by_suffix, n=1, cutoff=0)
    return f"did you mean {by_suffix[matches[0]]}?"


def _check_archive(settings: Settings) -> None:
    if not settings.archiver_enabled:
        return
    name = "FASTPACA_ARCHIVER_ENABLED"
    if settings.store != "sqlite":
        raise SettingsError(f"{name} works only with SQLite; unset it or FASTPACA_STORE.")
    if not settings.archive_url:
        raise SettingsError(f"{name} needs the address of the archive in DATABASE_URL.")
    if not re.match(r"postgres(ql)?://", settings.archive_url):
        raise SettingsError(
            f"{settings.archive_source} must be the address of a PostgreSQL database, such as"
            " postgresql://user@host/database."
        )

"""
What an operator can set, with environment variables and with flags of `fastpaca serve`.

`table.py` has a row for each setting: its variable, default, help and parser. Everything else is
made from the rows: the fields of `Settings`, the flags, and the check of the documentation.
`parsing.py` turns the text of a value into what it means, once, so that a `Settings` cannot be
wrong. `environment.py` finds the texts; nothing else reads the environment.
"""

from fastpaca.settings.environment import (
    FOREIGN_VARIABLES,
    SettingsError,
    load,
    load_api_key,
    load_store,
    parse_api_keys,
)
from fastpaca.settings.parsing import RateLimit
from fastpaca.settings.table import SETTINGS, Setting, Settings

__all__ = [
    "FOREIGN_VARIABLES",
    "SETTINGS",
    "RateLimit",
    "Setting",
    "Settings",
    "SettingsError",
    "load",
    "load_api_key",
    "load_store",
    "parse_api_keys",
]

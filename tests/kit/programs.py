"""Programs that tests start, and that set-up installs only where it may."""

from __future__ import annotations

import os
import shutil

import pytest


def program(*names: str) -> str:
    """
    Find a program by any of its names, of which the first is that of its Debian package.

    A test whose program is missing is skipped, since only root can have set-up install it. In
    continuous integration it fails.
    """
    path = f"{os.environ['PATH']}:/usr/sbin"
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is not None:
        return found
    reason = f"{names[0]} is not installed (Debian: apt-get install {names[0]})"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)

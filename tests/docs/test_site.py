"""The built site, in a real browser: everybody can read it, and it needs no other site."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS, ROOT
from tests.examples.browser import Browser, Page, opened

AXE = Path(sys.prefix) / "site/node_modules/axe-core/axe.min.js"

RUN_AXE = """
axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})
    .then(({violations}) => JSON.stringify(violations.map(({id, nodes}) =>
        [id, nodes.slice(0, 3).map((one) => one.html.slice(0, 200))])))
"""

NAMES = sorted(path.stem for path in DOCS.glob("*.md"))

FOREIGN = re.compile(
    r"<(?:script|img|source|iframe)[^>]+src=\"?https?:|<link[^>]+rel=\"?(?:stylesheet|preconnect|preload|icon)[^>]+https?:"
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is theirs
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    home = tmp_path_factory.mktemp("site")
    shutil.copytree(DOCS, home / "docs")
    shutil.copy(ROOT / "mkdocs.yml", home)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "site"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""
    handler = partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    with opened() as found:
        yield found


def show(page: Page, scheme: str, width: int) -> None:
    """Show a page in the colours *scheme*, *width* pixels wide."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    page.call("Emulation.setEmulatedMedia", features=features)
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.call("Emulation.setDeviceMetricsOverride", **screen)


def violations(page: Page) -> Any:
    """Ask axe what people with a screen reader, a keyboard or weak eyes cannot use."""
    found = page.call("Runtime.evaluate", expression=RUN_AXE, awaitPromise=True, returnByValue=True)
    return json.loads(found["result"]["value"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_everybody_can_read_a_page(browser: Browser, address: str, name: str) -> None:
    """
    axe finds nothing on a page that breaks WCAG 2.1 AA, in light and in dark colours; on a phone
    the page is no wider than the screen, and its console has nothing to complain of.
    """
    page = browser.open("about:blank")
    show(page, "light", 1280)
    page.go_to(f"{address}/{name}.html")
    page.evaluate(AXE.read_text(encoding="utf-8") + "; 0")
    for scheme, theme in (("light", "default"), ("dark", "slate")):
        show(page, scheme, 1280)
        page.wait_until(f"document.body.dataset.mdColorScheme === '{theme}'")
        assert violations(page) == [], scheme
    show(page, "light", 390)
    page.wait_until("innerWidth === 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.complaints == []
    page.close()


def test_site_needs_no_other_site(site: Path) -> None:
    """
    No page loads a script, a style, a font or a picture from elsewhere.
    """
    foreign = {
        path.name: found[0]
        for path in site.rglob("*.html")
        if (found := FOREIGN.search(path.read_text(encoding="utf-8")))
    }
    assert foreign == {}

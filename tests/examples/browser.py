"""A real browser for tests: headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from websockets.sync.client import ClientConnection, connect

from tests.kit.programs import program

T = TypeVar("T")

WAIT_SECONDS_MAX: Final = 30

_NAMES: Final = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    # A tab behind another one is as alive as the one in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--remote-debugging-port=0",
    "--window-size=900,800",
)

_KEYS: Final = {"Enter": ("Enter", 13, "\r")}


def eventually(what: Callable[[], T | None], meaning: str) -> T:
    """Ask *what* until it is true, and give that; fail, saying what was *meant*, after a while."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := what()):
        assert time.monotonic() < deadline, f"it never came to be: {meaning}"
        time.sleep(0.01)
    return found


class Browser:
    """
    One browser.

    Args:
        connection: To it.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._pages: dict[str, Page] = {}

    def open(self, url: str) -> Page:
        """Open *url* in a tab of its own, and wait until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, target, session)
        page.call("Page.enable")
        page.call("Runtime.enable")
        page.call("Log.enable")
        page.go_to(url)
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Carry out a command of the protocol, and give what it returns."""
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(request | ({"sessionId": session} if session else {})))
        while True:
            answer: dict[str, Any] = json.loads(self._connection.recv(WAIT_SECONDS_MAX))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("sessionId") in self._pages:
                self._pages[answer["sessionId"]].take(answer["method"], answer["params"])

    def close_pages(self) -> None:
        """Close all tabs that are open."""
        for page in list(self._pages.values()):
            page.close()

    def forget(self, session: str) -> None:
        """Take no more events of a tab."""
        self._pages.pop(session, None)


class Page:
    """
    One tab.

    Attributes:
        complaints: What its console has said of errors, and what was thrown and not caught.
    """

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self._loads = 0
        self.complaints: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Carry out a command of the protocol in this tab."""
        return self._browser.call(method, self._session, **parameters)

    def take(self, method: str, parameters: dict[str, Any]) -> None:
        """Take an event of this tab."""
        if method == "Page.loadEventFired":
            self._loads += 1
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])

    def go_to(self, url: str) -> None:
        """Go to *url*, and wait until it is loaded."""
        self._load(lambda: self.call("Page.navigate", url=url))

    def reload(self) -> None:
        """Load the page anew, and wait until that is done."""
        self._load(lambda: self.call("Page.reload", ignoreCache=True))

    def _load(self, begin: Callable[[], object]) -> None:
        loads = self._loads
        begin()
        eventually(lambda: self.evaluate("1") and self._loads > loads, "a page that is loaded")

    def close(self) -> None:
        """Close the tab, as a user who goes away does."""
        self._browser.call("Target.closeTarget", targetId=self._target)
        self._browser.forget(self._session)

    def evaluate(self, expression: str) -> Any:
        """Give the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """Give the texts of the elements that match and can be seen."""
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            ".filter((one) => one.checkVisibility()).map((one) => one.innerText.trim())"
        )
        return found

    def wait_for(self, selector: str, texts: list[str]) -> None:
        """Wait until exactly these texts are shown by the elements that match."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while (shown := self.texts(selector)) != texts:
            assert time.monotonic() < deadline, f"{selector}: {shown} instead of {texts}"
            time.sleep(0.01)

    def wait_until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true in the page."""
        eventually(lambda: self.evaluate(f"!!({expression})"), expression)

    def click(self, selector: str) -> None:
        """Click where the element is."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.evaluate(f"((box) => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type *text* where the focus is, key by key."""
        for character in text:
            self.call("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=character)

    def press(self, key: str) -> None:
        """Press a key that is no character."""
        code, number, text = _KEYS[key]
        known = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **known)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def screenshot(self, path: Path) -> None:
        """Write what can be seen to *path*."""
        data = self.call("Page.captureScreenshot")["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def opened() -> Iterator[Browser]:
    """Have a browser, with a profile of its own, until it is no longer needed."""
    with (
        tempfile.TemporaryDirectory(prefix="browser", ignore_cleanup_errors=True) as directory,
        _running(Path(directory)) as address,
        connect(address, max_size=None, compression=None) as connection,
    ):
        yield Browser(connection)


@contextmanager
def _running(profile: Path) -> Iterator[str]:
    """Run the program, and give its address once it has written down where it listens."""
    process = subprocess.Popen(
        [program(*_NAMES), *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    announcement = profile / "DevToolsActivePort"

    def announced() -> list[str] | None:
        assert process.poll() is None, f"the browser ended: {process.returncode}"
        lines = announcement.read_text().split() if announcement.exists() else []
        return lines if len(lines) == 2 else None

    try:
        port, path = eventually(announced, "a browser that listens")
        yield f"ws://127.0.0.1:{port}{path}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # all of its processes
        process.wait()

"""
The picture of the chat example in `README.md`: a real run, in the browser of the tests.

`python -m tests.examples.tour` takes it anew, in light and in dark colours.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tests.examples.browser import Page, opened
from tests.examples.world import a_world
from tests.kit.process import started

PICTURES: Final = Path(__file__).parents[2] / "docs/assets"

SAID: Final = (
    "How much hay do twelve llamas need?",
    "And how much water?",
    "Can they stay out in the snow?",
    "How often should I trim their toenails?",
    "Which plants in the meadow are poisonous?",
    "Do they get along with sheep?",
)

BUDGET: Final = 210


def main() -> None:
    """Have a conversation that outgrows its budget, and take the pictures."""
    with (
        tempfile.TemporaryDirectory() as directory,
        started(Path(directory)) as node,
        a_world(Path(directory), node) as world,
        opened() as browser,
    ):
        world.model.let_out(None)
        flags = ("--budget", str(BUDGET), "--port", "0")
        chat = world.start("python-chat/chat.py", *flags).address()
        page = browser.open(f"{chat}/chats/llama-farm")
        for number, text in enumerate(SAID, 1):
            _say(page, text)
            page.wait_until(
                f"document.querySelectorAll('.assistant:not(.draft)').length === {number}"
            )
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=760,
            height=780,
            deviceScaleFactor=1.5,
            mobile=False,
        )
        page.wait_until("document.querySelector('.horizon')")
        page.evaluate("document.querySelector('.horizon').scrollIntoView({block: 'center'})")
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            page.call("Emulation.setEmulatedMedia", features=[feature])
            page.screenshot(PICTURES / f"tour-{scheme}.png")


def _say(page: Page, text: str) -> None:
    page.wait_until("document.querySelector('#messages').ariaBusy === 'false'")
    page.wait_until("!document.querySelector('#send').disabled")
    page.click("#text")
    page.type(text)
    page.press("Enter")


if __name__ == "__main__":
    main()

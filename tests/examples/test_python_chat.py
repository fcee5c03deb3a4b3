"""The chat page, as its users see it: in a real browser, with a model that waits for its words."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from fastpaca import Context, Fastpaca
from tests.examples.browser import Browser, Page, eventually
from tests.examples.relay import relayed
from tests.examples.world import World, grown, log_of
from tests.kit.messages import user

BUDGET = 200

ANSWERS = ".assistant:not(.draft)"


@pytest.fixture(scope="module")
def address(home: World) -> Iterator[str]:
    """Where the chat is served; it ends in order, and had nothing to complain of."""
    server = home.start("python-chat/chat.py", "--budget", str(BUDGET), "--port", "0")
    yield server.address()
    assert server.stop() == 0
    assert "Traceback" not in server.log, server.log


@pytest.fixture
def chat(address: str, request: pytest.FixtureRequest) -> str:
    """The page of a conversation that no other test has."""
    return f"{address}/chats/{request.node.name}"


@pytest.fixture
def context(fastpaca: Fastpaca, chat: str) -> Context:
    """The same conversation, as the node has it."""
    return fastpaca.context(chat.rpartition("/")[2])


def say(page: Page, text: str) -> None:
    """Type a message and send it, once the page follows the conversation and it is time."""
    page.wait_until("document.querySelector('#messages').ariaBusy === 'false'")
    page.click("#text")
    page.type(text)
    page.press("Enter")


def test_chat_streams_remembers_and_stays_in_its_budget(
    browser: Browser, world: World, chat: str, context: Context
) -> None:
    """
    Words appear as the model says them; a reload in the middle and one at the end find all that was
    said; and while the page shows everything, the model is sent what the budget allows.
    """
    page = browser.open(chat)
    say(page, "What is an alpaca?")
    page.wait_for(".user .text", ["What is an alpaca?"])
    for said in ("You", "You said:", "You said: “What"):
        world.model.let_out(1)
        page.wait_for(".draft .text", [said])
    page.reload()
    page.wait_for(".user .text", ["What is an alpaca?"])
    page.wait_for(".draft .text", ["You said: “What"])
    world.model.let_out(1)
    page.wait_for(".draft .text", ["You said: “What is"])
    world.model.let_out(None)
    page.wait_for(f"{ANSWERS} .sent", ["The model was sent 2 messages, 26 tokens."])
    page.wait_for(".draft", [])

    asked = ["What is an alpaca?", *(f"And number {number}?" for number in range(2, 10))]
    for number, text in enumerate(asked[1:], 2):
        say(page, text)
        page.wait_until(f"document.querySelectorAll('{ANSWERS}').length === {number}")
    page.reload()
    page.wait_for(".user .text", asked)

    messages = list(context.messages())
    log = log_of(context)
    page.wait_for(".message .text", [text for _, text in log[1:]])
    assert sum(message.token_count for message in messages) > 1.5 * BUDGET
    start = 0
    for number, prompt in enumerate(world.model.prompts):
        end = 2 * number + 2  # behind the message that is answered
        start = end - len(prompt) + 1
        assert prompt == [log[0], *log[start:end]]
        tokens = messages[0].token_count + sum(one.token_count for one in messages[start:end])
        assert tokens <= BUDGET
        assert messages[end].metadata["sent"] == {
            "messages": len(prompt),
            "tokens": tokens,
            "from_seq": start + 1,
        }
    assert start > 1, "the first messages are no longer sent"
    page.wait_for(".horizon", ["messages above this line are no longer sent to the model"])
    following = page.evaluate("document.querySelector('.horizon + li').dataset.place")
    assert int(following) == start + 1
    used = context.context().used_tokens
    page.wait_for("#used", [f"{used} of {BUDGET} tokens"])
    assert not page.complaints


def test_two_tabs_show_the_same(
    browser: Browser, world: World, chat: str, context: Context
) -> None:
    """
    A second tab shows the message of the first and the answer as it grows, and waits its turn.
    """
    first, second = browser.open(chat), browser.open(chat)
    say(first, "Hello")
    second.wait_for(".user .text", ["Hello"])
    world.model.let_out(2)
    for page in (first, second):
        page.wait_for(".draft .text", ["You said:"])
        page.wait_until("document.querySelector('#send').disabled")
    refused = httpx.post(f"{chat}/messages", json={"id": "m", "text": "Me first"})
    assert refused.status_code == 409
    assert log_of(context)[1:] == [("user", "Hello")]
    world.model.let_out(None)
    for page in (first, second):
        page.wait_until(f"document.querySelectorAll('{ANSWERS}').length === 1")
    world.model.let_out(0)
    say(second, "And you?")
    world.model.let_out(2)
    for page in (first, second):
        page.wait_for(".user .text", ["Hello", "And you?"])
        page.wait_for(".draft .text", ["You said:"])
    world.model.let_out(None)
    for page in (first, second):
        page.wait_until(f"document.querySelectorAll('{ANSWERS}').length === 2")
    assert first.texts(".message") == second.texts(".message")
    assert [len(prompt) for prompt in world.model.prompts] == [2, 4]
    assert not first.complaints + second.complaints


def wait_for_versions(pages: list[Page], versions: list[int]) -> None:
    """Wait until all pages show the messages of these versions, and nothing is under way."""
    shown = "[...document.querySelectorAll('[data-version]')].map((one) => one.dataset.version)"
    for page in pages:
        page.wait_until(f"{shown}.join() === '{','.join(map(str, versions))}'")
        page.wait_until("document.querySelector('#messages').ariaBusy === 'false'")


def test_edit_regenerate_and_previous_answer(
    browser: Browser, world: World, chat: str, context: Context
) -> None:
    """
    A question is answered again, edited, and all answers are there to go back to; a second window
    shows each step; the model is sent what is shown, and the log keeps everything.
    """
    world.model.let_out(None)
    first, second = pages = [browser.open(chat), browser.open(chat)]
    say(first, "Which city?")
    wait_for_versions(pages, [2, 3])
    first.wait_for("#actions button", ["Regenerate"])
    first.click("#regenerate")  # 4: back to the question
    wait_for_versions(pages, [2, 5])
    first.wait_for("#actions button", ["Regenerate", "Previous answer"])

    second.click(".edit")
    assert second.evaluate("document.querySelector('#text').value") == "Which city?"
    second.wait_for("#composer button", ["Cancel", "Save"])
    second.click("#cancel")
    assert second.evaluate("document.querySelector('#text').value") == ""
    second.click(".edit")
    second.evaluate("document.querySelector('#text').select()")
    second.type("Which lake?")
    second.press("Enter")  # 6: back before the question
    wait_for_versions(pages, [7, 8])
    for page in pages:
        page.wait_for(".user .text", ["Which lake?"])
    second.wait_for("#composer button", ["Send"])

    for button, shown in (("previous", 5), ("previous", 3), ("next", 5)):  # 9, 10, 11
        first.click(f"#{button}")
        wait_for_versions(pages, [2, shown])
    first.wait_for("#actions button", ["Regenerate", "Previous answer", "Next answer"])
    second.click("#next")  # 12
    wait_for_versions(pages, [7, 8])
    second.wait_for("#actions button", ["Regenerate", "Previous answer"])
    second.click("#previous")  # 13
    wait_for_versions(pages, [2, 5])
    say(first, "How far?")
    wait_for_versions(pages, [2, 5, 14, 15])
    first.reload()
    wait_for_versions(pages, [2, 5, 14, 15])

    asked = [("user", "Which city?"), ("user", "Which lake?"), ("user", "How far?")]
    answers = [one for one in log_of(context) if one[0] == "assistant"]
    system = log_of(context)[0]
    assert log_of(context) == [
        system,
        asked[0],
        *answers[:2],
        asked[1],
        answers[2],
        asked[2],
        answers[3],
    ]
    path = list(context.messages(path="current"))
    assert [message.version for message in path] == [1, 2, 5, 14, 15]
    assert world.model.prompts == [
        [system, asked[0]],
        [system, asked[0]],
        [system, asked[1]],
        [system, asked[0], answers[1], asked[2]],
    ]
    assert not first.complaints + second.complaints


def test_answer_is_there_after_another_failed(browser: Browser, world: World, chat: str) -> None:
    """
    If the model fails to answer again, the page offers to try again, and the previous answer.
    """
    world.model.let_out(None)
    page = browser.open(chat)
    say(page, "Which city?")
    wait_for_versions([page], [2, 3])
    world.model.fail(status=400)
    page.click("#regenerate")
    page.wait_for("#reason", ["Error code: 400 - The script says no."])
    wait_for_versions([page], [2])
    page.wait_for("#actions button", ["Previous answer"])
    page.click("#previous")
    wait_for_versions([page], [2, 3])
    page.wait_for("#notice", [])


def test_what_the_page_does_not_show_is_not_left(
    browser: Browser, world: World, chat: str, context: Context
) -> None:
    """
    Going back is refused if there is a message that the page has not shown, or while an answer is
    written; and a question that is being edited stays so while others write.
    """
    page = browser.open(chat)
    say(page, "Which city?")
    back = {"to_version": 1, "if_version": 2}
    busy = httpx.post(f"{chat}/rewind", json={"back": back})
    assert (busy.status_code, busy.json()["error"][:9]) == (409, "An answer")
    world.model.let_out(None)
    wait_for_versions([page], [2, 3])
    page.click(".edit")
    context.rewind(to_version=2)
    context.append(user("From elsewhere"))
    wait_for_versions([page], [2, 5])
    page.wait_for("#composer button", ["Cancel", "Save"])
    for route, more in (("rewind", {}), ("answer", {}), ("messages", {"id": "m", "text": "x"})):
        refused = httpx.post(f"{chat}/{route}", json={"back": back, **more})
        assert refused.status_code == 409
        assert refused.json()["error"] == "The conversation has changed; look at it again."
        refused = httpx.post(f"{chat}/{route}", json={"back": {"to_version": 1}, **more})
        assert refused.status_code == 400
    assert httpx.post(f"{chat}/rewind", json={}).status_code == 400
    assert context.info().version == 5
    page.evaluate("document.querySelector('#text').select()")
    page.type("Which lake?")
    page.press("Enter")
    wait_for_versions([page], [7, 8])


def test_same_words_are_another_message(browser: Browser, world: World, chat: str) -> None:
    """
    Who says the same once more, or edits a question into itself, is answered once more.
    """
    world.model.let_out(None)
    page = browser.open(chat)
    say(page, "Hello")
    wait_for_versions([page], [2, 3])
    say(page, "Hello")
    wait_for_versions([page], [2, 3, 4, 5])
    page.click(".edit")
    page.press("Enter")  # 6: back before the first
    wait_for_versions([page], [7, 8])


def test_message_is_shown_as_text(browser: Browser, world: World, chat: str) -> None:
    """
    What looks like HTML is shown letter by letter, in the message and in the answer, and not run.
    """
    world.model.let_out(None)
    page = browser.open(chat)
    html = "<img src=x onerror=\"document.title='run'\"><b>bold</b>"
    say(page, html)
    page.wait_for(".user .text", [html])
    page.wait_until(f"document.querySelector('{ANSWERS}')")
    (answer,) = page.texts(f"{ANSWERS} .text")
    assert html in answer
    page.reload()
    page.wait_for(".user .text", [html])
    assert page.evaluate("document.querySelectorAll('#messages img, #messages b').length") == 0
    assert page.evaluate("document.title") == "Chat on fastpaca"
    assert not page.complaints


def test_answer_is_kept_when_nobody_waits_for_it(
    browser: Browser, world: World, chat: str, context: Context
) -> None:
    """
    A user who closes the page in the middle of an answer finds the whole of it later.
    """
    page = browser.open(chat)
    say(page, "Take your time")
    world.model.let_out(1)
    page.wait_for(".draft .text", ["You"])
    page.close()
    world.model.let_out(None)
    eventually(lambda: log_of(context)[-1][0] == "assistant", "an answer that is kept")
    page = browser.open(chat)
    page.wait_for(".message .text", [text for _, text in log_of(context)[1:]])


def test_page_goes_on_after_a_lost_connection(
    browser: Browser, world: World, chat: str, address: str, context: Context
) -> None:
    """
    A page that was cut off in the middle of an answer connects again, and shows what it missed.
    """
    with relayed(address) as relay:
        page = browser.open(chat.replace(address, relay.address))
        say(page, "Hello")
        world.model.let_out(2)
        page.wait_for(".draft .text", ["You said:"])
        relay.take_away()
        page.wait_for("#reason", ["The connection is lost; trying again …"])
        context.append(user("From elsewhere"))
        relay.bring_back()
        page.wait_for(".user .text", ["Hello", "From elsewhere"])
        page.wait_for(".draft .text", ["You said:"])
        world.model.let_out(1)
        page.wait_for(".draft .text", ["You said: “Hello”"])
        page.wait_for("#notice", [])
        world.model.let_out(None)
        page.wait_until(f"document.querySelector('{ANSWERS}')")
        page.wait_for(".message .text", [text for _, text in log_of(context)[1:]])
        page.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 400}, "Error code: 400 - The script says no."),
        ({"after_words": 2}, "The model broke off in the middle of its answer."),
    ],
    ids=["refuses", "breaks_off"],
)
def test_failure_is_shown_and_leaves_no_half_answer(
    browser: Browser,
    world: World,
    chat: str,
    context: Context,
    fault: dict[str, int],
    reason: str,
) -> None:
    """
    If the model fails, the page says so and keeps the message; trying again brings the answer.
    """
    world.model.fail(**fault)
    world.model.let_out(None)
    page = browser.open(chat)
    say(page, "Hello")
    page.wait_for("#reason", [reason])
    page.wait_for(".message .text", ["Hello"])
    assert log_of(context)[1:] == [("user", "Hello")]
    page.reload()
    page.wait_for("#reason", [reason])
    world.model.fail()
    page.click("#again")
    page.wait_until(f"document.querySelector('{ANSWERS}')")
    page.wait_for("#notice", [])
    assert [role for role, _ in log_of(context)] == ["system", "user", "assistant"]


def test_long_conversation_opens_at_its_end(
    browser: Browser, world: World, chat: str, fastpaca: Fastpaca, context: Context
) -> None:
    """
    Earlier messages are a click away, page by page. Even where nothing trims the window, the model
    is sent no more than the budget.
    """
    texts = grown(fastpaca, context.id, BUDGET)
    page = browser.open(chat)
    for shown in (50, 100):
        page.wait_for(".user .text", texts[-shown:])
        page.click("#earlier")
    page.wait_for(".user .text", texts)
    page.wait_for("#earlier", [])
    world.model.let_out(None)
    say(page, "And now?")
    page.wait_until(f"document.querySelector('{ANSWERS}')")
    (prompt,) = world.model.prompts
    messages = list(context.messages())
    kept = messages[121 - len(prompt) : 121]
    assert prompt == [("user", message.parts[0]["text"]) for message in kept]
    tokens = sum(message.token_count for message in kept)
    assert BUDGET / 4 < tokens <= BUDGET
    page.wait_for(".sent", [f"The model was sent {len(prompt)} messages, {tokens} tokens."])


def test_bad_request_is_refused(world: World, address: str, chat: str) -> None:
    """
    What is no message is refused with a reason, and creates nothing.
    """
    for status, body, kind in (
        (415, b"{}", "text/plain"),
        (400, b"{", "application/json"),
        (400, b"[]", "application/json"),
        (400, b'{"id": "m", "text": " "}', "application/json"),
        (400, b'{"id": "", "text": "Hello"}', "application/json"),
    ):
        answered = httpx.post(f"{chat}/messages", content=body, headers={"Content-Type": kind})
        assert answered.status_code == status
        assert answered.json()["error"]
    assert httpx.get(f"{chat}/messages?offset=x").status_code == 400
    assert httpx.get(address).headers["location"] == "/chats/demo"
    assert httpx.get(f"{world.node.address}/v1/contexts/test_bad_request_is_refused").is_error

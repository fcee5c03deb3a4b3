"""What only Bedrock demands of a block."""

from __future__ import annotations

from typing import Any

from tests.formats.samples import PDF, PNG, Appended, Json
from tests.providers import bedrock


def rendered(*listed: Json, format_: str = "bedrock") -> tuple[list[Any], list[str]]:
    """Return the messages for Bedrock, which it accepts, and the codes of the repairs."""
    rendering = Appended(listed, format_).rendered("bedrock")
    assert bedrock.violations(rendering.messages) == []
    return rendering.messages, [repair.code for repair in rendering.repairs]


def test_document_gets_a_name_that_is_taken() -> None:
    """
    The name of a document loses what is refused: other characters, and spaces in a row.
    """
    document = {"format": "pdf", "name": "A  plan_2", "source": {"bytes": PDF}}
    content = [{"text": "Read this."}, {"document": document}]
    messages, codes = rendered({"role": "user", "content": content})
    assert messages[0]["content"][1]["document"] == {**document, "name": "A plan-2"}
    assert codes == ["changed_name"]


def test_media_in_a_reply_are_lost() -> None:
    """
    Only the user may send images, so that one in a reply is a loss.
    """
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    listed = (
        {"role": "user", "content": [{"text": "Draw."}]},
        {"role": "assistant", "content": [{"text": "Here."}, image]},
        {"role": "user", "content": [{"text": "Thanks."}]},
    )
    rendering = Appended(listed, "bedrock").rendered("bedrock")
    assert rendering.messages[1]["content"] == [{"text": "Here."}]
    assert [loss.code for loss in rendering.losses] == ["media"]


def test_result_that_is_an_error_says_something() -> None:
    """
    A result without output may stay empty, but not if it is an error or held a blank text.
    """
    empty: Json = {"toolUseId": "t1", "content": []}
    failed: Json = {"toolUseId": "t2", "content": [], "status": "error"}
    blank: Json = {"toolUseId": "t3", "content": [{"text": " "}]}
    calls = [{"toolUse": {"toolUseId": f"t{n}", "name": "do", "input": {}}} for n in (1, 2, 3)]
    messages, codes = rendered(
        {"role": "user", "content": [{"text": "Do it."}]},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": [{"toolResult": one} for one in (empty, failed, blank)]},
    )
    contents = [block["toolResult"]["content"] for block in messages[2]["content"]]
    assert contents == [[], [{"text": "(no output)"}], [{"text": "(no output)"}]]
    assert codes == ["filled_result", "filled_result"]

"""An agent on Anthropic Messages: it streams, thinks, calls tools, and keeps its conversation."""

import tools
from anthropic import Anthropic

from fastpaca import Context, Fastpaca

model = Anthropic()


def answer(chat: Context) -> None:
    while True:
        view = chat.context(format="anthropic", cache=True)
        with model.messages.stream(
            model="claude-opus-5-5",
            max_tokens=16_000,
            system=view.system,
            messages=view.messages,
            tools=[tools.ANTHROPIC],
            thinking={"type": "adaptive"},
        ) as stream:
            for piece in stream.text_stream:
                print(piece, end="", flush=True)
            message = stream.get_final_message()
        chat.append(message)
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return
        results = []
        for call in calls:
            output = tools.order_status(call.input)
            results.append({"type": "tool_result", "tool_use_id": call.id, "content": output})
        chat.append({"role": "user", "content": results})


if __name__ == "__main__":
    conversation = Fastpaca().context("support/1", budget=4_000)
    while said := input("\n> "):
        conversation.append(said)
        answer(conversation)

"""An agent on OpenAI Chat Completions: it streams, calls tools, and keeps its conversation."""

import json

import tools
from openai import OpenAI

from fastpaca import Context, Fastpaca

model = OpenAI()


def answer(chat: Context) -> None:
    while True:
        view = chat.context(format="openai-chat")
        with model.chat.completions.stream(
            model="gpt-5.6",
            messages=view.messages,
            tools=[tools.OPENAI_CHAT],
            stream_options={"include_usage": True},
        ) as stream:
            for event in stream:
                if event.type == "content.delta":
                    print(event.delta, end="", flush=True)
            completion = stream.get_final_completion()
        chat.append(completion)
        calls = completion.choices[0].message.tool_calls
        if not calls:
            return
        for call in calls:
            output = tools.order_status(json.loads(call.function.arguments))
            chat.append({"role": "tool", "tool_call_id": call.id, "content": output})


if __name__ == "__main__":
    conversation = Fastpaca().context("support/1", budget=4_000)
    while said := input("\n> "):
        conversation.append(said)
        answer(conversation)

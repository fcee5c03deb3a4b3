"""An agent on OpenAI Responses: it streams, calls tools, and keeps its conversation."""

import json

import tools
from openai import OpenAI

from fastpaca import Context, Fastpaca

model = OpenAI()


def answer(chat: Context) -> None:
    while True:
        view = chat.context(format="openai-responses")
        with model.responses.stream(
            model="gpt-5.6",
            input=view.messages,
            tools=[tools.OPENAI_RESPONSES],
            store=False,  # fastpaca keeps the items; reasoning comes sealed
            include=["reasoning.encrypted_content"],
        ) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    print(event.delta, end="", flush=True)
            response = stream.get_final_response()
        chat.append(response)
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return
        for call in calls:
            output = tools.order_status(json.loads(call.arguments))
            chat.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": output},
                format="openai-responses",
            )


if __name__ == "__main__":
    conversation = Fastpaca().context("support/1", budget=4_000)
    while said := input("\n> "):
        conversation.append(said)
        answer(conversation)

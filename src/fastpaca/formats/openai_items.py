"""
The items of OpenAI's Responses, and the blocks of those that are messages.

As the types of the official package list them; a test walks these and misses every new one here.
"""

from __future__ import annotations

from typing import Final

from fastpaca.formats.blocks import Block

_BREAK: Final = "prompt_cache_breakpoint"
_MORE: Final = "id status caller namespace created_by"

CONTENT: Final = {
    "input_text": Block.of({"text": '"'}, _BREAK),
    "input_image": Block.of({"image_url": '"?', "file_id": '"?'}, _BREAK, needed="detail"),
    "input_file": Block.of(
        {"file_data": '"?', "file_id": '"?', "file_url": '"?', "filename": '"?'},
        f"detail {_BREAK}",
    ),
    "output_text": Block.of({"text": '"'}, "annotations logprobs"),
    "refusal": Block.of({"refusal": '"'}),
}
"""Blocks of messages."""

_CALL: Final = {"call_id": '"'}
_OUTPUT: Final = {"call_id": '"', "output": '"['}

ITEMS: Final = {
    "function_call": Block.of({**_CALL, "name": '"', "arguments": '"'}, f"{_MORE} async"),
    "function_call_output": Block.of({"call_id": '"?', "output": '"['}, f"{_MORE} name"),
    "custom_tool_call": Block.of({**_CALL, "name": '"', "input": '"'}, f"{_MORE} async"),
    "custom_tool_call_output": Block.of(_OUTPUT, _MORE),
    "computer_call": Block.of(
        {**_CALL, "id": '"', "action": "{?"},
        f"{_MORE} actions",
        needed="status pending_safety_checks",
    ),
    "computer_call_output": Block.of(
        {**_CALL, "output": "{"}, f"{_MORE} acknowledged_safety_checks"
    ),
    "local_shell_call": Block.of({**_CALL, "id": '"', "action": "{"}, _MORE, "status"),
    "local_shell_call_output": Block.of({"id": '"', "output": '"'}, f"{_MORE} call_id"),
    "shell_call": Block.of({**_CALL, "action": "{"}, f"{_MORE} environment"),
    "shell_call_output": Block.of({**_CALL, "output": "["}, f"{_MORE} max_output_length"),
    "apply_patch_call": Block.of({**_CALL, "operation": "{"}, _MORE, "status"),
    "apply_patch_call_output": Block.of({**_CALL, "output": '"?'}, _MORE, "status"),
    "tool_search_call": Block.of({"call_id": '"?'}, f"{_MORE} arguments execution", "arguments"),
    "tool_search_output": Block.of({"call_id": '"?', "tools": "["}, f"{_MORE} execution"),
    "mcp_approval_request": Block.of(
        {"id": '"', "arguments": '"', "name": '"', "server_label": '"'}
    ),
    "mcp_approval_response": Block.of(
        {"approval_request_id": '"', "approve": "t"}, "id reason request_id"
    ),
    "web_search_call": Block.of({"id": '"'}, _MORE, needed="status action"),
    "file_search_call": Block.of({"id": '"', "queries": "["}, f"{_MORE} results", "status"),
    "code_interpreter_call": Block.of(
        {"id": '"', "container_id": '"'}, _MORE, needed="status code outputs"
    ),
    "image_generation_call": Block.of(
        {"id": '"', "result": '"?'},
        f"{_MORE} action background error output_format quality size revised_prompt svg_usage",
        needed="status result",
    ),
    "mcp_call": Block.of(
        {"id": '"', "arguments": '"', "name": '"', "server_label": '"'},
        f"{_MORE} approval_request_id error output",
    ),
    "mcp_list_tools": Block.of({"id": '"', "server_label": '"', "tools": "["}, "error"),
    "reasoning": Block.of({"id": '"', "summary": "["}, f"{_MORE} content encrypted_content"),
    "compaction": Block.of({"encrypted_content": '"'}, _MORE),
    "compaction_trigger": Block.of({}, "id"),
    "configuration_update": Block.of({}, "id reasoning text"),
    "additional_tools": Block.of({"role": '"', "tools": "["}, "id"),
    "item_reference": Block.of({"id": '"'}),
    "program": Block.of({"id": '"', "call_id": '"', "code": '"', "fingerprint": '"'}),
    "program_output": Block.of({"id": '"', "call_id": '"', "result": '"'}, needed="status"),
}
"""Items besides messages, as the official package lists them."""

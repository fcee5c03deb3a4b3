"""
The types of messages, from the providers' packages that are installed. For type checkers alone.

Nothing here is imported at run time, so no package is needed. For a package that is not installed,
its types are JSON objects, `dict[str, Any]`. Otherwise they would be unknown, and a strict type
checker would complain about every `append`, in whichever format.

Python's types have no condition for that, but a star import of a missing module defines nothing.
mypy keeps the first definition of a name and pyright the last one, so the packages come first and
last, with the JSON objects between them.
"""

# ruff: noqa: F403, I001  # that is how it works, and so is the order
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.genai.types import *
    from anthropic.types.message_param import *
    from anthropic.types.text_block_param import *
    from openai.types.chat.chat_completion_message import *
    from openai.types.chat.chat_completion_message_param import *
    from openai.types.responses.response_input_item_param import *
    from openai.types.responses.response_output_item import *

    from fastpaca.client.provider_fallbacks import *

    from openai.types.responses.response_output_item import *
    from openai.types.responses.response_input_item_param import *
    from openai.types.chat.chat_completion_message_param import *
    from openai.types.chat.chat_completion_message import *
    from anthropic.types.text_block_param import *
    from anthropic.types.message_param import *
    from google.genai.types import *

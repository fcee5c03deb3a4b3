"""
What stands for the types of a provider's package that is not installed: JSON objects.

Only type checkers read this module; see `provider_types`.
"""

from __future__ import annotations

from typing import Any

ChatCompletionMessage = dict[str, Any]
ChatCompletionMessageParam = dict[str, Any]
Content = dict[str, Any]
ContentDict = dict[str, Any]
MessageParam = dict[str, Any]
ResponseInputItemParam = dict[str, Any]
ResponseOutputItem = dict[str, Any]
TextBlockParam = dict[str, Any]

"""The conversations that these tests need."""

from tests.acceptance.conftest import real_conversations

__all__ = ["real_conversations"]

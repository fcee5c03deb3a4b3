"""Queues, batches, commits and contexts in memory, the same for every store."""

from fastpaca.engine.engine import Engine, Health
from fastpaca.engine.writes import Keyed, ResponseWriter, Written

__all__ = ["Engine", "Health", "Keyed", "ResponseWriter", "Written"]

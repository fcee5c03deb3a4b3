"""Queues, batches, commits and contexts in memory, for every store at once."""

from fastpaca.engine.engine import Engine, Health
from fastpaca.engine.writes import Keyed, Shape, Written

__all__ = ["Engine", "Health", "Keyed", "Shape", "Written"]

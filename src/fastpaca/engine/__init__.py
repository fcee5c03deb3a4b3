"""Waiting, batches, commits and hot contexts, for every store at once."""

from fastpaca.engine.engine import Engine, Keyed, Shape, Written

__all__ = ["Engine", "Keyed", "Shape", "Written"]

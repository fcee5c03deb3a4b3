"""Waiting, batches, commits and hot contexts, for every store at once."""

from fastpaca.engine.engine import Engine, Health, Keyed, Shape, Written

__all__ = ["Engine", "Health", "Keyed", "Shape", "Written"]

"""
Keeps the conversations of language-model applications.

A conversation is a *context*: a full, immutable message log for people, and a window of it for the
model that stays within its token budget. The rules are in `fastpaca.context`, which is the place to
start reading; what is around it makes them durable and reachable.
"""

__version__ = "0.1.0"

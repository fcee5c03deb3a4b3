"""Durable storage: the port in `base.py`, and its adapters next to it."""

"""Durable truth: the port in `base.py`, and its adapters beside it."""

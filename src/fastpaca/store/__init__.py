"""Durable truth: the port in `base.py`, and next to it its adapters."""

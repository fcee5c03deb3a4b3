"""
Move contexts between stores, through a file in an open format.

`format` has the lines of the file, and `reader` the machine that checks their order. `history`
reads what happened to a context, and `exporter` writes it to a file. `importer` replays it into
another store, and `verify` proves that the file and the store hold the same.

All of it uses the port of stores, and so works with every store.
"""

"""
Moving contexts between stores, by way of a file that anybody can read.

`format` is the file: its lines, and the machine that holds every line to its place. `history` reads
what happened to a context, `export` writes it down. `replay` lets it happen again in another store,
and `verify` proves that file and store hold the same.

All of it goes through the port of stores, and so works with each of them.
"""

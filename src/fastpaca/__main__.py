"""Make `python -m fastpaca` the same as the command `fastpaca`."""

import sys

from fastpaca.cli.start import main

if __name__ == "__main__":
    sys.exit(main())

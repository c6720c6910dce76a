"""How the commands of this folder take numbers and how they end: an error is one line."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def at_least(least: int) -> Callable[[str], int]:
    "A type of arguments: whole numbers that are not smaller."

    def number(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; {least} is the least")
        return value

    return number


def clearly(main: Callable[[], int | None]):
    "Run a command and exit with its status, or with its error in one line."
    from opembed_nb.hood.files import (
        OpembedError,  # late: run.py measures memory without the package
    )

    try:
        status = main()
    except OpembedError as e:
        status = f"{Path(sys.argv[0]).stem}: {e}"
    except OSError as e:
        where = f"{e.filename}: " if e.filename else ""
        status = f"{Path(sys.argv[0]).stem}: {where}{e.strerror or e}"
    raise SystemExit(status)

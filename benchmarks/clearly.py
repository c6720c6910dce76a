"""How the commands of this folder end: an error that names its remedy is one line of theirs."""

import sys
from collections.abc import Callable
from pathlib import Path


def clearly(main: Callable[[], int | None]):
    "Run a command and exit with its status, or with its error in one line."
    from opembed_nb.data import OpembedError  # late: run.py measures memory without the package

    try:
        status = main()
    except OpembedError as e:
        status = f"{Path(sys.argv[0]).stem}: {e}"
    except OSError as e:
        status = f"{Path(sys.argv[0]).stem}: {e.filename}: {e.strerror or e}"
    raise SystemExit(status)

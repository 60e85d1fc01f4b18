"""The command `netapply`, and `python -m reconciler`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command. `--version` is answered before anything is imported that takes time."""
    if sys.argv[1:] == ["--version"]:
        from ._version import __version__

        print(f"netapply {__version__}")
        return
    from .cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

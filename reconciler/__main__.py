"""The command `netapply`, and `python -m reconciler`."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing takes 10 ms
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command and end. `--version` is answered before anything is imported that takes time."""
    if sys.argv[1:] == ["--version"]:
        from ._version import __version__

        print(f"netapply {__version__}")
        sys.exit()
    import gc

    gc.disable()  # a run is short and makes few cycles; collecting while modules load takes a tenth of a small plan
    try:
        _open_streams()
        _heed_termination()
        from .shortcut import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # so early, or so late, that nobody else minds
        code = 1
    os._exit(code)  # all is written and flushed; taking the modules down one by one would take 10 ms


def _open_streams() -> None:
    """Have somewhere to write to where the caller closed a stream: what is done must not fail for that."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open until the end


def _heed_termination() -> None:
    """Have SIGTERM and SIGHUP end the run as Ctrl-C does, unless they are ignored (nohup)."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    main()

"""What a run ends with: the one place where errors become messages and exit codes. docs/cli.md lists the codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from .errors import NetapplyError
from .output import Errors, Unwritable, write

OK, FAILED, DIFFERENCES, REFUSED, USAGE, LACKS, BUG = 0, 1, 2, 3, 64, 69, 70
"""The exit codes that are no error's own: see `reconciler.errors` for those, docs/cli.md for all."""


class Usage(Exception):
    """The command line is wrong; `command` is the one whose --help says how it is used."""

    def __init__(self, message: str, command: str = "netapply") -> None:
        super().__init__(message)
        self.command = command


def run(act: Callable[[], int], args: Sequence[str]) -> int:
    """Do what the words on the command line mean and return the exit code. The one place where errors become codes."""
    said = Errors(args)
    try:
        return act()
    except NetapplyError as failure:
        if said.debug:
            _trace()
        said.error(failure)
        return failure.exit_code
    except Usage as failure:
        said.plain(str(failure), USAGE, "Usage", f"`{failure.command} --help` says how it is used")
        return USAGE
    except KeyboardInterrupt:  # not while applying: the engine rolls back then, and raises ApplyFailed
        return _interrupted(said)
    except OSError as failure:
        if not isinstance(failure, Unwritable):
            return _bug(failure, said)
        said.plain(f"the result can't be written: {failure.strerror}", LACKS, "Unwritable")
        return LACKS
    except Exception as failure:  # noqa: BLE001 - no traceback ever reaches a user who did not ask for it
        if isinstance(failure.__cause__, KeyboardInterrupt):  # while a class was made (`__set_name__`, Python 3.11)
            return _interrupted(said)
        return _bug(failure, said)


def _interrupted(said: Errors) -> int:
    said.plain("interrupted; nothing was changed", FAILED, "Interrupted")
    return FAILED


def _bug(failure: Exception, said: Errors) -> int:
    if said.debug:
        _trace()
    hint = "" if said.debug else "run it again with --debug and report what it prints"
    said.plain(f"this is a bug in netapply: {type(failure).__name__}: {failure}", BUG, "Bug", hint)
    return BUG


def _trace() -> None:
    import traceback

    write(sys.stderr, traceback.format_exc())

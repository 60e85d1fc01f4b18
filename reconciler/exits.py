"""What a run ends with: the one place where errors become messages and exit codes. docs/cli.md lists the codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from .errors import NetapplyError
from .output import Errors, Unwritable, write

USAGE_ERROR: type[Any] = typer.BadParameter.__mro__[1]
"""Click's UsageError: of which click, an own one or that within typer, depends on typer's version."""

OK, FAILED, DIFFERENCES, REFUSED, USAGE, LACKS, BUG = 0, 1, 2, 3, 64, 69, 70
"""The exit codes that are no error's own: see `reconciler.errors` for those, docs/cli.md for all."""


def run(app: typer.Typer, args: Sequence[str]) -> int:
    """Run the command and return its exit code. The one place where errors become codes."""
    said = Errors(args)
    try:
        return _invoke(app, list(args))
    except NetapplyError as failure:
        if said.debug:
            _trace()
        said.error(failure)
        return failure.exit_code
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
        if not isinstance(failure, USAGE_ERROR):
            return _bug(failure, said)
        ctx = getattr(failure, "ctx", None)
        hint = f"`{ctx.command_path if ctx else 'netapply'} --help` says how it is used"
        said.plain(failure.format_message(), USAGE, "Usage", hint)
        return USAGE


def _invoke(app: typer.Typer, args: list[str]) -> int:
    command = typer.main.get_command(app)
    if "_NETAPPLY_COMPLETE" in os.environ:
        command.main(args, prog_name="netapply")  # answers the shell and exits
    try:
        with command.make_context("netapply", args) as ctx:
            if not args:
                write(sys.stderr, command.get_help(ctx) + "\n")
                return USAGE
            return int(command.invoke(ctx) or OK)
    except typer.Exit as done:
        return done.exit_code


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

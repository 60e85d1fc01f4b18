"""The usual command lines, cron's and a pipeline's, read without typer, whose import takes a fifth of a small run.

A command line is read here if it is `apply` or `plan`, named or meant, with files and options that take no value;
whatever else there is, or may be wrong, is left to `reconciler.cli`. What both read they read alike: a test compares.
"""

import os
from collections.abc import Sequence
from typing import Any

from . import commands, exits

_BARE = frozenset("./")
"""A word with one of these is no command."""

_FLAGS: dict[str, tuple[str, bool]] = {
    "--check": ("check", True),
    "--prune": ("prune", True),
    "--no-prune": ("prune", False),
    "--force": ("force", True),
    "--strict": ("strict", True),
    "--detailed-exitcode": ("detailed_exitcode", True),
    "--format=json": ("json", True),
    "--format=text": ("json", False),
    "-v": ("verbose", True),
    "--verbose": ("verbose", True),
    "-q": ("quiet", True),
    "--quiet": ("quiet", True),
    "--no-color": ("no_color", True),
    "--debug": ("debug", True),
}
"""All of both commands but --check, which is of `apply`; what --debug asks for `exits.run` sees for itself."""

_VARIABLES = ("_NETAPPLY_COMPLETE", "NETAPPLY_HOST")
"""With one of these in the environment typer is asked: a shell wants words, or an option has its value from there."""


def run(args: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    meant = read(args)
    if meant is None:
        from .cli import run

        return run(args)
    name, wanted = meant
    return exits.run(lambda: commands.apply(wanted) if name == "apply" else commands.plan(wanted), args)


def read(args: Sequence[str]) -> tuple[str, commands.Wanted] | None:
    """Return the command, "apply" or "plan", and what it is told; None if typer has to read it."""
    if any(variable in os.environ for variable in _VARIABLES):
        return None
    name = ""
    files: list[str] = []
    options: dict[str, Any] = {}
    for arg in args:
        if arg.startswith("-") and arg != "-":
            if arg not in _FLAGS:
                return None
            option, value = _FLAGS[arg]
            options[option] = value
        elif name:
            files.append(arg)
        elif arg in ("apply", "plan"):
            name = arg
        elif arg == "-" or not _BARE.isdisjoint(arg):
            name, files = "apply", [arg]
        else:  # another command, or one with a mistake
            return None
    if not files or (name == "plan" and "check" in options):
        return None
    options.pop("debug", None)
    return name, commands.Wanted(tuple(files), **options)

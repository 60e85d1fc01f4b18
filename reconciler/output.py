"""What the command line prints: results to one stream, errors to the other, as text or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TextIO

from .errors import NetapplyError
from .report.terminal import View, view_of

if TYPE_CHECKING:
    from .engine import Progress, Report
    from .report.content import Content
    from .report.json import Json


class Errors(NamedTuple):
    """How errors are told: by the words on the command line alone, since parsing it can be what fails."""

    args: Sequence[str]

    @property
    def json(self) -> bool:
        return "--format=json" in self.args or ("--format", "json") in pairwise(self.args)

    @property
    def debug(self) -> bool:
        return "--debug" in self.args

    @property
    def view(self) -> View:
        return view_of(sys.stderr, os.environ, colour="--no-color" not in self.args)

    def error(self, failure: NetapplyError) -> None:
        from .report import json, problems

        if self.json:
            return write(sys.stderr, json.text(json.error(failure)))
        return write(sys.stderr, problems.text(failure, self.view, sources=sys.stderr.isatty()))

    def plain(self, message: str, exit_code: int, kind: str, hint: str = "") -> None:
        from .report import json, problems

        if self.json:
            return write(sys.stderr, json.text(json.problem(message, exit_code, kind)))
        return write(sys.stderr, problems.usage(message, self.view, hint))


class Unwritable(OSError):
    """The result can't be written where it should go."""


def write(stream: TextIO, text: str) -> None:
    """Write; a reader who has gone away (`| head`) has read enough, and that changes no exit code."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # so that flushing at the exit is quiet as well
    except UnicodeEncodeError:
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
        stream.flush()
    except OSError as failure:
        raise Unwritable(failure.errno, failure.strerror) from failure


def put(value: str | Json) -> None:
    """Print text as it is, anything else as JSON."""
    if not isinstance(value, str):
        from .report import json

        value = json.text(value)
    write(sys.stdout, value)


def replace_files(texts: Mapping[str, str]) -> None:
    """Put new texts in the place of files, each at once and with the rights it had. Raises Unwritable."""
    for path, text in texts.items():
        target = os.path.realpath(path)
        half = f"{target}.{os.getpid()}.new"
        try:
            mode = os.stat(target).st_mode
            with open(half, "x", encoding="utf-8", newline="") as stream:
                os.fchmod(stream.fileno(), mode & 0o7777)
                stream.write(text)
            os.replace(half, target)
        except OSError as failure:
            with suppress(OSError):
                os.unlink(half)
            raise Unwritable(failure.errno, f"{path}: {failure.strerror}") from failure


class Page(NamedTuple):
    """How results are told."""

    json: bool
    quiet: bool
    view: View
    errors: View

    def tell(self, content: Content, checked: bool = False) -> None:
        if self.json:
            from .report import json

            put(json.plan(content))
        elif content.plan or content.refusals or not self.quiet:
            from .report import text

            put(text.plan(content, self.view, checked=checked))

    def follow(self, act: Callable[[Progress | None], Report]) -> Report:
        """Act, with a progress bar where somebody looks on."""
        from .report import progress

        if self.json or self.quiet or not sys.stderr.isatty():
            return act(None)
        try:
            return act(progress.bar(sys.stderr, self.errors))
        except BaseException:
            progress.wipe(sys.stderr)
            raise


def page_of(as_json: bool, *, verbose: bool = False, quiet: bool = False, no_color: bool = False) -> Page:
    """Return the page that standard output is."""
    out = view_of(sys.stdout, os.environ, colour=not no_color, verbose=verbose)
    return Page(as_json, quiet, out, view_of(sys.stderr, os.environ, colour=not no_color))

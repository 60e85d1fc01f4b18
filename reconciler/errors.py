"""What can go wrong, split by who must act.

Every error that a user can meet is one of these; `reconciler.exits` maps the class to an exit code in one place, and
anything else that escapes is a bug of ours (70). A message says what is wrong and, after a semicolon, what mends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple


class Position(NamedTuple):
    """A place in a manifest: file name as the user gave it, line and column counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def source_line(sources: Mapping[str, str], position: Position) -> str | None:
    """Return the line at a position, without its end, from texts by file name; None where there is no such line.

    A line ends where YAML 1.1, 5.4 says so: that is how the parser counts.
    """
    import re

    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", sources.get(position.file, ""))
    return lines[position.line - 1] if position.file in sources and position.line <= len(lines) else None


class Problem(NamedTuple):
    """One thing that is wrong with a manifest: where, what, and what mends it (may be empty)."""

    position: Position
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.position}: error: {self.what}" + (f"; {self.mend}" if self.mend else "")


class NetapplyError(Exception):
    """The root of the tree. `exit_code` is what the command ends with (docs/cli.md lists all)."""

    exit_code: ClassVar[int] = 70


class ManifestError(NetapplyError):
    """The manifest's author must act. Carries every problem found, in file order, not only the first.

    `sources` are the texts of the files by their names, so that `line_of` can show the line of a problem.
    """

    exit_code = 65

    def __init__(self, problems: Sequence[Problem], sources: Mapping[str, str] | None = None) -> None:
        self.problems = tuple(sorted(set(problems)))
        self.sources = dict(sources or {})
        super().__init__("\n".join(map(str, self.problems)))

    def line_of(self, position: Position) -> str | None:
        """Return the source line at a position, without its end; None where the text is not known."""
        return source_line(self.sources, position)


class Refused(NetapplyError):
    """Going on could destroy what is not ours, or too much of what is: conflicts, limits, protection (3).

    `reasons` has one line for each object in the way.
    """

    exit_code = 3

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n".join(self.reasons))


class HostLacks(NetapplyError):
    """The host's admin must act: a program, a kernel module, a link or a network that must exist does not (69)."""

    exit_code = 69


class NotPermitted(NetapplyError):
    """The caller lacks a right; the message names the capabilities that are needed (77)."""

    exit_code = 77


class LockHeld(NetapplyError):
    """Another run holds the host's lock (75)."""

    exit_code = 75


class DriverError(NetapplyError):
    """The driver's author must act: a driver broke its contract (70)."""


class OperationFailed(NetapplyError):
    """One operation on the host failed. `errno` is the kernel's answer, 0 where there is none."""

    exit_code = 1

    def __init__(self, what: str, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(what)


class ApplyFailed(NetapplyError):
    """Applying failed, or was interrupted, and the host is as it was before (1)."""

    exit_code = 1


class RollbackFailed(NetapplyError):
    """Applying failed and so did going back (4). `left` names what differs from before."""

    exit_code = 4

    def __init__(self, what: str, left: Sequence[str]) -> None:
        self.left = tuple(left)
        super().__init__("\n".join([what, *(f"  left: {line}" for line in self.left)]))

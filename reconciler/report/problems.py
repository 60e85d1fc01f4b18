"""Errors as text: `file:line:column: error: what; mend`, on a terminal with the line of the manifest and a caret."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import ManifestError, NetapplyError, Problem, Refused
from .terminal import BOLD, DIM, RED, View

MOST = 50
"""Problems of a manifest that are told; of a file that is none at all there can be thousands."""

WIDEST = 160
"""Letters of a manifest's line that are shown."""


def text(failure: NetapplyError, view: View, *, sources: bool) -> str:
    """Return what to print for an error, lines ended by a newline each. `sources`: show the manifest's lines."""
    return "".join(f"{line}\n" for line in _lines(failure, view, sources))


def usage(message: str, view: View, hint: str = "") -> str:
    """Return what to print for a wrong command line, or whatever else has no class of its own."""
    lines = [_error(message, view), *([hint] if hint else [])]
    return "".join(f"{line}\n" for line in lines)


def _lines(failure: NetapplyError, view: View, sources: bool) -> Iterator[str]:
    if isinstance(failure, ManifestError):
        for problem in failure.problems[:MOST]:
            yield f"{view.paint(f'{problem.position}:', BOLD)} {_error(_what(problem), view)}"
            if sources:
                yield from _source(failure.line_of(problem.position), problem, view)
        if len(failure.problems) > MOST:
            yield view.paint(f"and {len(failure.problems) - MOST} more")
    elif isinstance(failure, Refused):
        yield from (_error(f"refused: {reason}", view) for reason in failure.reasons)
    else:
        first, *rest = str(failure).splitlines() or [type(failure).__name__]
        yield _error(first, view)
        yield from (view.paint(f"  {line}") for line in rest)


def _what(problem: Problem) -> str:
    return f"{problem.what}; {problem.mend}" if problem.mend else problem.what


def _error(message: str, view: View) -> str:
    return f"{view.paint('error:', RED, BOLD)} {view.paint(message)}"


def _source(line: str | None, problem: Problem, view: View) -> Iterator[str]:
    """Yield the line that is wrong and a caret below its column; of a long line the part around it."""
    if line is None:
        return
    column = problem.position.column
    start = max(0, column - WIDEST // 2) if len(line) > WIDEST else 0
    shown = line[start : start + WIDEST]
    indent = "".join(letter if letter == "\t" else " " for letter in line[start : column - 1])
    yield view.paint(f"  {problem.position.line:>4} | ", DIM) + view.paint(shown)
    yield view.paint("       | ", DIM) + view.paint(f"{indent}^", RED)

"""What `netapply doctor` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..doctor import ERROR, NOTE, OK, SEVERITIES, WARNING, Finding
from .json import FORMAT_VERSION, Json
from .terminal import BOLD, DIM, RED, YELLOW, View

_COLOURS = {ERROR: RED, WARNING: YELLOW, NOTE: DIM, OK: DIM}


def text(found: Sequence[Finding], view: View) -> str:
    """Return the findings as lines, the worst ones last, where they are seen."""
    ordered = sorted(found, key=lambda one: SEVERITIES.index(one.severity))
    return "".join(f"{line}\n" for line in (*_lines(ordered, view), view.paint(summary(found), BOLD)))


def _lines(found: Iterable[Finding], view: View) -> Iterator[str]:
    for one in found:
        colour = _COLOURS[one.severity]
        yield f"{view.paint(f'{one.severity:8}', colour)}{view.paint(f'{one.subject}: {one.what}')}"
        if one.mend:
            yield view.paint(f"        {'# ' if one.is_command else '→ '}{one.mend}")


def summary(found: Iterable[Finding]) -> str:
    """Return "doctor: 1 error, 2 warnings"."""
    counts = count(found)
    words = [f"{number} {name}{'s' * (number != 1)}" for name, number in counts.items() if number and name != OK]
    return f"doctor: {', '.join(words) or 'all is well'}"


def count(found: Iterable[Finding]) -> Mapping[str, int]:
    """Return how many findings there are of each severity, the worst first."""
    severities = [one.severity for one in found]
    return {name: severities.count(name) for name in reversed(SEVERITIES)}


def as_json(found: Sequence[Finding], versions: Mapping[str, str]) -> Json:
    """Return the findings as JSON."""
    return {
        "format_version": FORMAT_VERSION,
        "versions": dict(versions),
        "findings": [
            {
                "subject": one.subject,
                "severity": one.severity,
                "what": one.what,
                "mend": one.mend or None,
                "is_command": one.is_command,
            }
            for one in found
        ],
        "summary": dict(count(found)),
    }

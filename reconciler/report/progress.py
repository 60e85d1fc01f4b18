"""A progress bar for long applies, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from .terminal import View

SHORT = 50
"""Applying as many changes as this, or fewer, shows no bar: it would be gone before it is read."""

WIDTH = 30


def bar(stream: TextIO, view: View) -> Callable[[int, int], None] | None:
    """Return what draws the progress on the stream and wipes it at the end; None where the stream is no terminal."""
    if not stream.isatty():
        return None
    drawn = -1

    def draw(done: int, total: int) -> None:
        nonlocal drawn
        filled = WIDTH * done // max(total, 1)
        if total <= SHORT or (filled == drawn and done < total):
            return
        drawn = filled
        cells = view.paint("█" * filled + "░" * (WIDTH - filled))
        stream.write("\r\x1b[K" if done >= total else f"\r{cells} {done}/{total}\x1b[K")
        stream.flush()

    return draw


def wipe(stream: TextIO) -> None:
    """Take a bar away that a failure left half-way."""
    if stream.isatty():
        stream.write("\r\x1b[K")

"""How a report looks on the stream that it goes to: colour, letters, and nothing that could drive a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TextIO

SIGNS = {"add": "+", "change": "~", "remove": "-", "replace": "↻"}
COLOURS = {"add": "32", "change": "33", "remove": "31", "replace": "36"}
BOLD, DIM, RED, YELLOW = "1", "2", "31", "33"

_ASCII = {"↻": "-/+", "→": "->", "├": "|", "└": "`", "─": "-", "│": "|", "…": "...", "←": "<-", "█": "#", "░": "."}
_TO_ASCII = str.maketrans(_ASCII)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
"""Names that others gave (a link's may hold any byte but / and white space) must not send escape sequences."""


class View(NamedTuple):
    """What the reader's stream can show, and how much the reader wants: `verbose` adds every object and full texts."""

    colour: bool = False
    unicode: bool = True
    verbose: bool = False

    def paint(self, text: str, *codes: str) -> str:
        """Return the text fit for the stream, in the colours of the SGR codes (ECMA-48, 8.3.117) if it shows any."""
        if not text.isprintable():
            text = text.translate(_CONTROLS)
        if not self.unicode:
            text = text.translate(_TO_ASCII)
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if self.colour and codes and text else text

    def sign(self, action: str) -> str:
        """Return the sign of "add", "change", "remove" or "replace"."""
        return self.paint(SIGNS[action], COLOURS[action])


def view_of(stream: TextIO, environ: Mapping[str, str], *, colour: bool = True, verbose: bool = False) -> View:
    """Return the view for a stream: coloured on a terminal unless NO_COLOR (https://no-color.org) is set."""
    shows = colour and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and stream.isatty()
    return View(shows, _encodes(stream, "".join(_ASCII)), verbose)


def _encodes(stream: TextIO, letters: str) -> bool:
    try:
        letters.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

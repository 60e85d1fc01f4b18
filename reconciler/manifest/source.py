"""Reading manifests: files, folders and standard input, as text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TextIO

from ..errors import Position, Problem

MAX_BYTES = 10 * 1024 * 1024
"""The largest file that is read: about 50,000 containers."""

STDIN = "-"


class Source(NamedTuple):
    """The text of one file; `file` is its name as messages say it."""

    file: str
    text: str


def read(paths: Sequence[str], stdin: TextIO | None, problems: list[Problem]) -> list[Source]:
    """Return the texts of the files, of the manifests in the folders, and of `stdin` for "-".

    What can't be read is added to `problems`. A file that is named twice is read once.
    """
    sources: list[Source] = []
    seen: set[str] = set()
    if not paths:
        problems.append(_problem(STDIN, "no manifest is given", "name a file, a folder, or - for standard input"))
    for path in paths:
        for file in _files(path, problems):
            if (identity := _identity(file)) not in seen and (text := _text(file, stdin, problems)) is not None:
                sources.append(Source(file, text))
            seen.add(identity)
    return sources


def _identity(file: str) -> str:
    try:
        return file if file == STDIN else os.path.realpath(file)
    except (OSError, ValueError):  # reading it will say why
        return file


def _files(path: str, problems: list[Problem]) -> Iterator[str]:
    """Yield the path itself, or the manifests in the folder that it is, sorted."""
    if path == STDIN or not _is_folder(path):
        yield path
        return
    try:
        names = sorted(name for name in os.listdir(path) if name.endswith((".yaml", ".yml")) and name[0] != ".")
    except OSError as failure:
        problems.append(_problem(path, f"the folder can't be read: {failure.strerror}"))
        return
    files = [os.path.join(path, name) for name in names]
    files = [file for file in files if not os.path.isdir(file)]
    if not files:
        problems.append(_problem(path, "there is no manifest in this folder", "it needs a file *.yaml or *.yml"))
    yield from files


def _is_folder(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:  # a zero byte in the name
        return False


def _text(file: str, stdin: TextIO | None, problems: list[Problem]) -> str | None:
    """Return a file's text, None where it can't be had."""
    try:
        data = _stdin(stdin) if file == STDIN else _bytes(file)
    except (OSError, ValueError) as failure:
        what = getattr(failure, "strerror", None) or str(failure)
        mend = {2: "is its name right?", 13: "it needs the right to read it"}.get(getattr(failure, "errno", 0) or 0, "")
        problems.append(_problem(file, f"the file can't be read: {what}", mend))
        return None
    if len(data) > MAX_BYTES:
        problems.append(
            _problem(file, f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB", "split it into several")
        )
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        before = data[: failure.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        position = Position(file, before.count(b"\n") + 1, column)
        what = f"the file is not text in UTF-8: byte 0x{data[failure.start]:02x}"
        problems.append(Problem(position, what, "save it as UTF-8"))
        return None


def _bytes(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(MAX_BYTES + 1)


def _stdin(stdin: TextIO | None) -> bytes:
    if stdin is None:
        import sys

        stdin = sys.stdin
    if stdin is None:  # a process without one
        raise OSError(9, "there is no standard input")
    if buffer := getattr(stdin, "buffer", None):
        data: bytes = buffer.read(MAX_BYTES + 1)
        return data
    return stdin.read(MAX_BYTES + 1).encode("utf-8", "surrogatepass")


def _problem(file: str, what: str, mend: str = "") -> Problem:
    return Problem(Position(file, 1, 1), what, mend)

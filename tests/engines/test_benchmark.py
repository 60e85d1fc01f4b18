"""`make bench-engines`, interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.engines.__main__ import NEEDED
from tests.bench.table import INTERRUPTED

from .lab import ROOT, missing

LIMIT = 240
"""Seconds for what takes a few: before it begins, it waits until the kernel is done with earlier hosts."""


def left(folder: Path) -> list[str]:
    """What still lives of those who were told to put their files into a folder: the first words of their commands."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ, command = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"TMPDIR={folder}\0".encode() in environ and command:
            found.append(command.partition(b"\0")[0].decode())
    return found


def wait(ready: Callable[[], object]) -> None:
    until = time.monotonic() + LIMIT
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.thorough
def test_an_interrupted_benchmark_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    if reason := missing(*NEEDED):
        pytest.skip(reason)
    folder = tmp_path / "tmp"
    folder.mkdir()
    said = tmp_path / "said"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.engines"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait(
            lambda: [*folder.glob("*/lab.yaml")] or process.poll() is not None
        )  # netapply is about to start, in a host
        for _ in range(2):  # by a terminal, and by `timeout`
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LIMIT) == INTERRUPTED
    finally:
        process.kill()
        process.wait(LIMIT)
    assert said.read_text() == "interrupted; bench-engines.json is as it was before\n"
    assert [*folder.iterdir()] == []
    wait(lambda: not left(folder))

"""Runs of netapply that are forks of a process that has loaded it (tests/warm.py): they are as good as started ones."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests import warm
from tests.machine import NETAPPLY, PATIENCE, Machine, machine

WRONG = "project: shop\nnetworks: {front: {driver: brigde}}\ncontainers: {web: {networks: [back]}}\n"

SAYS_WHAT = {"NO_COLOR": "1", "WHAT": "front"}


def netapply(*arguments: str, stdin: str | None = None, timeout: float = 30 * PATIENCE) -> tuple[int, str, str]:
    done = warm.netapply(arguments, stdin=stdin, timeout=timeout, environ=SAYS_WHAT)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["validate", "-"], WRONG),
        (["validate", "-"], "project: shop\nnetworks: {$WHAT: }\n"),
        (["plan", "nowhere.yaml"], None),
        (["plan", "--no-such-option"], None),
        (["plan", "-"], None),
        (["--version"], None),
        ([], None),
    ],
    ids=["wrong", "from the environment", "no file", "no option", "no manifest", "version", "nothing"],
)
def test_a_run_says_and_returns_what_a_started_one_does(host: Machine, arguments: list[str], stdin: str | None) -> None:
    started = host.run([*NETAPPLY, *arguments], stdin=stdin, check=False, env=SAYS_WHAT)
    assert netapply(*arguments, stdin=stdin) == (started.returncode, started.stdout, started.stderr)


def test_a_run_knows_nothing_of_what_a_test_has_changed_in_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    _, before, _ = netapply("--version")
    monkeypatch.setattr("reconciler._version.__version__", "of the test")
    for _ in range(2):  # by both processes
        assert netapply("--version")[1] == before


def test_a_run_that_takes_too_long_is_killed() -> None:
    os.mkfifo("/run/waits")
    with pytest.raises(subprocess.TimeoutExpired):
        netapply("validate", "/run/waits", timeout=0.5 * PATIENCE)
    assert _is_read_by_nobody("/run/waits", within=5 * PATIENCE)


def _is_read_by_nobody(fifo: str, within: float) -> bool:
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # ENXIO: there is no reader, which would have been let go on otherwise
            return True
        time.sleep(0.01)
    return False


def test_runs_go_on_after_what_they_are_forks_of_was_killed_with_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_zygotes", [])
    with machine():
        first = netapply("--version")
        inside = [one.process for one in warm._zygotes]
    assert {one.wait(10) for one in inside} == {-9}
    assert [netapply("--version") for _ in range(3)] == [first] * 3
    for one in warm._zygotes:
        one.end()

"""Killed at any operation, rolling back included, the next run converges and what is foreign is untouched."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from reconciler import engine
from reconciler.errors import NetapplyError
from reconciler.host.linux import LinuxHost
from reconciler.manifest.model import Manifest
from tests.strategies import unprotected

from .many_changes import changes, chosen, forget_forwarding, snapshot
from .test_rollback import OPTIONS, Counting, manifests, number_of_operations, operations, raising

__all__ = ["manifests"]  # the fixture


def run_in_a_child(manifest: Manifest, trap: Counting) -> int:
    """Converge in a child process and return its wait status."""
    pid = os.fork()
    if not pid:
        try:
            engine.converge(manifest, LinuxHost(trap=trap), OPTIONS)
        except NetapplyError:
            os._exit(1)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.root
def test_killed_at_any_operation_the_next_run_converges(manifests: tuple[Manifest, Manifest]) -> None:
    before, after = manifests
    words = operations(manifests)
    total = len(words)
    as_before = snapshot()
    engine.converge(after, LinuxHost(), OPTIONS)
    as_after = snapshot()
    for at in chosen(words):
        engine.converge(unprotected(after), LinuxHost(), OPTIONS)
        engine.converge(before, LinuxHost(), OPTIONS)
        forget_forwarding()
        status = run_in_a_child(after, Counting(at, kill))
        assert os.WIFSIGNALED(status), f"operation {at} of {total} was not reached"
        assert engine.converge(after, LinuxHost(), OPTIONS).plan or at == total - 1
        assert not engine.plan(after, LinuxHost(), OPTIONS).plan
        assert not [*changes(as_after, snapshot())], f"killed at operation {at}"
    engine.converge(unprotected(after), LinuxHost(), OPTIONS)
    engine.converge(before, LinuxHost(), OPTIONS)
    forget_forwarding()
    assert not [*changes(as_before, snapshot())]


@pytest.mark.thorough
@pytest.mark.root
def test_killed_while_rolling_back_the_next_run_converges(manifests: tuple[Manifest, Manifest]) -> None:
    before, after = manifests
    total = number_of_operations(manifests)
    as_before = snapshot()

    class Twice(Counting):
        """Fails at half of the way, and is killed some operations later."""

        def __call__(self, what: str) -> None:
            super().__call__(what)
            if self.seen == total // 2:
                raising(errno.ENOBUFS)()

    for later in range(1, 2 * total, 4):
        status = run_in_a_child(after, Twice(total // 2 + later, kill))
        engine.converge(before, LinuxHost(), OPTIONS)
        forget_forwarding()
        assert not [*changes(as_before, snapshot())], f"killed {later} operations after the failure"
        if not os.WIFSIGNALED(status):
            break
    else:
        pytest.fail("rolling back never ended")

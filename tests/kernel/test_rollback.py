"""Whatever fails, and whenever: the host is as before, or the run says what is left and the next one heals it."""

from __future__ import annotations

import errno
import io
import os
import signal
from collections.abc import Callable
from itertools import cycle

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed, RollbackFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.plan import Create, Plan, Update
from tests.strategies import unprotected

from .many_changes import AFTER, BEFORE, changes, chosen, forget_forwarding, make_foreign, snapshot

FAILURES = (errno.ENOBUFS, errno.EBUSY, errno.EEXIST, errno.EPERM)
OPTIONS = engine.Options(force=True, lock_timeout=1)


def applied(*texts: str) -> tuple[Manifest, Manifest]:
    """Apply the first of two manifests; returns both."""
    before, after = (load(["-"], stdin=io.StringIO(text)) for text in texts)
    engine.converge(before, LinuxHost(), OPTIONS)
    return before, after


@pytest.fixture
def manifests(host: object) -> tuple[Manifest, Manifest]:
    """The host as BEFORE says, among foreign objects; BEFORE and AFTER."""
    make_foreign()
    return applied(BEFORE, AFTER)


def kinds(plan: Plan) -> set[tuple[str, ...]]:
    """The kinds of change in a plan: what is done to what, and for an update to which field."""
    result: set[tuple[str, ...]] = set()
    for change in plan.changes:
        name = type(change).__name__
        if isinstance(change, Update):
            result |= {(name, change.key.kind, field) for field in change.fields}
        else:
            resource = change.after if isinstance(change, Create) else change.before
            result.add((name, change.key.kind, str(getattr(resource, "kind", ""))))
    return result


class Counting:
    """A trap that does something at the n-th operation (from 0), and counts."""

    def __init__(self, at: int | None, act: Callable[[], None]) -> None:
        self.seen, self.at, self.act, self.armed = 0, at, act, True
        self.words: list[str] = []

    def __call__(self, what: str) -> None:
        number, self.seen = self.seen, self.seen + 1
        self.words.append(what)
        if self.armed and self.at is not None and number == self.at:
            self.armed = False
            self.act()


def number_of_operations(manifests: tuple[Manifest, Manifest]) -> int:
    """Count the operations of going from BEFORE to AFTER, and go back."""
    return len(operations(manifests))


def operations(manifests: tuple[Manifest, Manifest]) -> list[str]:
    """Go from BEFORE to AFTER and back, and return the operations of the way there, in words."""
    before, after = manifests
    trap = Counting(None, lambda: None)
    engine.converge(after, LinuxHost(trap=trap), OPTIONS)
    reverted = engine.Options(force=True)
    engine.converge(unprotected(after), LinuxHost(), reverted)
    engine.converge(before, LinuxHost(), reverted)
    forget_forwarding()
    return trap.words


def raising(number: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(number, os.strerror(number))

    return act


@pytest.mark.root
def test_the_plan_has_twenty_kinds_of_change(manifests: tuple[Manifest, Manifest]) -> None:
    assert len(kinds(engine.plan(manifests[1], LinuxHost(), OPTIONS).plan)) >= 20


@pytest.mark.root
def test_a_failure_at_any_operation_leaves_the_host_as_it_was(manifests: tuple[Manifest, Manifest]) -> None:
    """That it is, netapply has found by itself each time; for some of each kind `ip`, `nft` and `tc` are asked, too."""
    words = operations(manifests)
    as_before, total = snapshot(), len(words)
    assert total >= 40
    for at, failure in zip(range(total), cycle(FAILURES), strict=False):
        trap = Counting(at, raising(failure))
        with pytest.raises(ApplyFailed):
            engine.converge(manifests[1], LinuxHost(trap=trap), OPTIONS)
        if at in chosen(words):
            assert not [*changes(as_before, snapshot())], f"operation {at} failed with {errno.errorcode[failure]}"


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_rolls_back(manifests: tuple[Manifest, Manifest], number: signal.Signals) -> None:
    total = number_of_operations(manifests)
    as_before = snapshot()
    for at in (0, total // 3, total // 2, total - 2):
        trap = Counting(at, lambda: os.kill(os.getpid(), number))
        with pytest.raises(ApplyFailed, match=number.name):
            engine.converge(manifests[1], LinuxHost(trap=trap), OPTIONS)
        assert not [*changes(as_before, snapshot())], f"{number.name} at operation {at}"


@pytest.mark.root
def test_when_rolling_back_fails_too_what_is_left_is_said_and_the_next_run_heals(
    manifests: tuple[Manifest, Manifest],
) -> None:
    before, after = manifests
    forget_forwarding()
    as_before = snapshot()

    class Broken(Counting):
        def __call__(self, what: str) -> None:
            super().__call__(what)
            if not self.armed:
                raising(errno.ENOBUFS)()

    with pytest.raises(RollbackFailed) as failure:
        engine.converge(after, LinuxHost(trap=Broken(30, lambda: None)), OPTIONS)
    assert failure.value.left
    engine.converge(before, LinuxHost(), OPTIONS)
    forget_forwarding()
    assert not [*changes(as_before, snapshot())]

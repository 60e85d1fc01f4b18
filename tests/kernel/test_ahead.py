"""What a second process sees of half of the namespaces is what one alone would see, and nothing depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.host import Observation, Scope, ahead, looking, namespaces
from reconciler.host.linux import LinuxHost
from reconciler.host.looking import Look
from reconciler.manifest import load
from reconciler.placement import placed
from tests.machine import PATIENCE, Machine

from .many_changes import AFTER, BEFORE, make_foreign
from .test_rollback import OPTIONS

Seen = Iterator[tuple[str, tuple[int, Look]]]


@pytest.fixture
def pays(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have a second process for every observation. The paths for which it answered are in the list."""
    answered: list[str] = []
    look = ahead._Helper.look

    def noted(helper: ahead._Helper, path: str, inode: int, whole: bool) -> Look | None:
        found = look(helper, path, inode, whole)
        answered.extend([path] if found else [])
        return found

    monkeypatch.setattr(ahead._Helper, "look", noted)
    monkeypatch.setattr(ahead, "_pays", lambda number: True)
    return answered


@pytest.fixture
def scope(host: Machine, tmp_path: Path) -> Scope:
    make_foreign()
    return converged(tmp_path, AFTER)


def converged(folder: Path, text: str) -> Scope:
    path = folder / "shop.yaml"
    path.write_text(text)
    manifest = placed(load([str(path)]), LinuxHost(), OPTIONS.here)
    engine.converge(manifest, LinuxHost(), OPTIONS)
    return engine.scope_of(manifest)


def alone(scope: Scope) -> Observation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ahead, "_pays", lambda number: False)
        return LinuxHost().observe(scope)


def test_both_see_the_same(host: Machine, tmp_path: Path, pays: list[str]) -> None:
    make_foreign()
    for text in (BEFORE, AFTER):
        scope = converged(tmp_path, text)
        pays.clear()
        together = LinuxHost().observe(scope)
        assert pays
        assert together == alone(scope)


def test_what_a_process_that_breaks_off_did_not_hand_over_is_looked_at(
    scope: Scope, pays: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(paths: Sequence[str], home: int, whole: Collection[str]) -> Seen:
        os._exit(0)
        yield from ()

    monkeypatch.setattr(looking, "each", broken)
    assert LinuxHost().observe(scope) == alone(scope)
    assert not pays


def test_a_process_that_stands_still_is_waited_for_once_and_does_not_seem_to_live_where_it_is(
    scope: Scope, pays: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    fork = os.fork

    def stuck(paths: Sequence[str], home: int, whole: Collection[str]) -> Seen:
        namespaces.setns(os.open(paths[0], os.O_RDONLY))
        time.sleep(600)
        yield from ()

    def noted() -> int:
        if pid := fork():
            started.append(pid)
            _until_it_has_entered(pid)
            inodes = {os.stat(f"/run/netns/{name}").st_ino for name in os.listdir("/run/netns")}
            assert inodes.isdisjoint(looking.inodes_of_processes()), "it would count as somebody who needs a sandbox"
        return pid

    monkeypatch.setattr(looking, "each", stuck)
    monkeypatch.setattr(ahead, "TIMEOUT", 0.2)
    monkeypatch.setattr(os, "fork", noted)
    assert LinuxHost().observe(scope) == alone(scope)
    assert not pays
    assert len(started) == 1
    assert not os.path.exists(f"/proc/{started[0]}")


def _until_it_has_entered(pid: int) -> None:
    """Wait until a thread of a process is in another namespace than this one is."""
    own, deadline = os.readlink("/proc/thread-self/ns/net"), time.monotonic() + 10 * PATIENCE
    while {os.readlink(f"/proc/{pid}/task/{one}/ns/net") for one in os.listdir(f"/proc/{pid}/task")} == {own}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_namespace_that_has_become_another_one_meanwhile_is_looked_at(
    host: Machine, scope: Scope, pays: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ahead._Helper.__init__
    former: list[int] = []  # kept open: else the kernel removes what is in them between one look and the next

    def overtaken(helper: ahead._Helper, home: int, paths: Sequence[str], whole: frozenset[str]) -> None:
        start(helper, home, paths, whole)
        helper._seen = helper._collect()
        assert helper._seen
        for path in helper._seen:
            name = path.rpartition("/")[2]
            former.append(os.open(path, os.O_RDONLY))
            host.run(f"umount -l {path}")
            host.run(f"rm {path}")
            host.run(f"ip netns add {name}")

    monkeypatch.setattr(ahead._Helper, "__init__", overtaken)
    together = LinuxHost().observe(scope)
    assert not pays
    assert together.state == alone(scope).state
    for descriptor in former:
        os.close(descriptor)


MANY = """\
project: many
networks: {front: {ipam: {config: [{subnet: 10.20.0.0/22}]}}}
containers:
"""


def test_a_second_run_of_as_many_as_have_help_finds_nothing_to_do(host: Machine, tmp_path: Path) -> None:
    manifest = tmp_path / "many.yaml"
    manifest.write_text(MANY + "".join(f"  c{number}: {{networks: [front]}}\n" for number in range(ahead.MANY)))
    host.netapply(manifest)
    assert "nothing to do" in host.netapply(manifest).stdout
    host.run("ip link delete eth0", netns=f"c{ahead.MANY - 1}")
    assert "1 added" in host.netapply(manifest).stdout


def test_it_is_one_process_where_there_are_few_or_other_threads(host: Machine) -> None:
    """In a process of its own, since a test's has threads."""
    code = (
        "import threading; from reconciler.host import ahead; MANY = ahead.MANY;"
        "print(ahead._pays(MANY), ahead._pays(MANY - 1));"
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); print(ahead._pays(MANY))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30 * PATIENCE, check=True)
    assert done.stdout.split() == [str(len(os.sched_getaffinity(0)) > 1), "False", "False"]

"""Names when something fails: at every operation, and when netapply is killed at every operation."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest.model import Manifest
from tests.dns import ask
from tests.machine import Machine

from .test_dns import resolvers
from .test_killed import kill, run_in_a_child
from .test_rollback import OPTIONS, Counting, applied, raising

BEFORE = """
version: 1
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10}}}
  api: {networks: {front: {ipv4_address: 10.20.0.20}, back: {ipv4_address: 10.21.0.20}}}
"""
AFTER = """
version: 1
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24, gateway: 10.20.0.254}]}}
  lan: {ipam: {config: [{subnet: 10.22.0.0/24}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10, aliases: [www]}}, dns: {search: example}}
  db: {networks: {front: {ipv4_address: 10.20.0.30}, lan: {ipv4_address: 10.22.0.30}}}
"""


def of_names() -> dict[str, str]:
    """What there is of names: files with their contents, without what depends on the host's cookie; and processes."""
    found = [*Path("/run/netapply").glob("dns-*/**/*"), *Path("/etc/netns").glob("**/*")]
    texts = {str(path): path.read_text() if path.is_file() else "" for path in found}
    texts |= {f"resolver {number}": conf for number, conf in enumerate(sorted(resolvers().values()))}
    return {name: re.sub(r"host=\d+", "", text) for name, text in texts.items()}


@pytest.fixture
def manifests(host: Machine) -> tuple[Manifest, Manifest]:
    """The host as BEFORE says; BEFORE and AFTER."""
    return applied(BEFORE, AFTER)


def about_names(before: Manifest, after: Manifest) -> tuple[int, list[int]]:
    """Count the operations of going from one to the other, and say which are about names."""
    told: list[str] = []
    engine.converge(after, LinuxHost(trap=told.append), OPTIONS)
    engine.converge(before, LinuxHost(), OPTIONS)
    mine = [at for at, what in enumerate(told) if re.search("resolver|names of|resolv.conf", what)]
    return len(told), mine


def test_whichever_operation_fails_names_are_as_before(manifests: tuple[Manifest, Manifest]) -> None:
    before, after = manifests
    total, mine = about_names(before, after)
    assert len(mine) > 15
    as_before = of_names()
    for at in {*mine, total - 1}:
        trap = Counting(at, raising(errno.EBUSY))
        with pytest.raises(ApplyFailed, match="the host is as it was before"):
            engine.converge(after, LinuxHost(trap=trap), OPTIONS)
        assert of_names() == as_before, f"operation {at} failed"
        assert not engine.plan(before, LinuxHost(), OPTIONS).plan
    assert ask("web", "10.20.0.1", "api").values == ("10.20.0.20",)
    assert ask("api", "10.21.0.1", "web").values == ("10.20.0.10",)


@pytest.mark.thorough
def test_killed_at_whichever_operation_the_next_run_converges_and_leaves_no_process_behind(
    manifests: tuple[Manifest, Manifest],
) -> None:
    before, after = manifests
    engine.converge(after, LinuxHost(), OPTIONS)
    as_after = of_names()
    engine.converge(before, LinuxHost(), OPTIONS)
    _, mine = about_names(before, after)
    for at in mine:
        status = run_in_a_child(after, Counting(at, kill))
        assert os.WIFSIGNALED(status), f"operation {at} was not reached"
        assert engine.converge(after, LinuxHost(), OPTIONS).plan
        assert of_names() == as_after, f"killed at operation {at}"
        assert ask("web", "10.20.0.254", "www").values == ("10.20.0.10",)
        assert ask("db", "10.22.0.1", "web").values == ("10.20.0.10",)
        engine.converge(before, LinuxHost(), OPTIONS)


@pytest.mark.thorough
def test_killed_at_whichever_operation_destroying_ends_all(manifests: tuple[Manifest, Manifest]) -> None:
    before, after = manifests
    _, mine = about_names(before, after)
    for at in mine[::2]:
        run_in_a_child(after, Counting(at, kill))
        engine.destroy("shop", LinuxHost(), OPTIONS)
        assert of_names() == {}, f"killed at operation {at}"
        engine.converge(before, LinuxHost(), OPTIONS)


def test_a_resolver_that_is_stopped_is_drift_and_another_one_answers(host: Machine) -> None:
    host.netapply("-", stdin=BEFORE)
    (stopped,) = (pid for pid, conf in resolvers().items() if "10.21.0.1" not in Path(conf).read_text())
    os.kill(stopped, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{stopped}/stat").read_text().rpartition(") ")[2][0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "started anew: somebody has stopped it" in host.netapply("plan", "-", stdin=BEFORE).stdout
    host.netapply("-", stdin=BEFORE)
    assert ask("web", "10.20.0.1", "api").values == ("10.20.0.20",)
    assert stopped not in resolvers()
    assert "nothing to do" in host.netapply("-", stdin=BEFORE).stdout

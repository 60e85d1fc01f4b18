"""Resolvers in containers' namespaces when something fails, and when netapply is killed: at every operation."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from tests.dns import ask
from tests.machine import Machine

from .test_dns_inside import OWN, all_resolvers, end, inside, process
from .test_killed import kill, run_in_a_child
from .test_rollback import OPTIONS, Counting, applied, raising

BEFORE = """
version: 1
project: shop
dns: true
networks:
  lan: {driver: macvlan, driver_opts: {parent: eth0}, ipam: {config: [{subnet: 10.23.0.0/24}]}}
  apart: {driver_opts: {gateway_mode: isolated}, ipam: {config: [{subnet: 10.25.0.0/24}]}}
containers:
  web: {networks: {lan: {ipv4_address: 10.23.0.10}}}
  api: {networks: {lan: {ipv4_address: 10.23.0.20}, apart: {ipv4_address: 10.25.0.20}}}
  db: {networks: {apart: {ipv4_address: 10.25.0.30}}}
"""
AFTER = """
version: 1
project: shop
dns: true
networks:
  lan: {driver: macvlan, driver_opts: {parent: eth0}, ipam: {config: [{subnet: 10.23.0.0/24}]}}
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web: {networks: {lan: {ipv4_address: 10.23.0.10, aliases: [www]}}, dns: {servers: 192.0.2.53, search: example}}
  api: {networks: {front: {ipv4_address: 10.20.0.20}, lan: {ipv4_address: 10.23.0.20}}}
  new: {networks: {lan: {ipv4_address: 10.23.0.40}}}
"""


@pytest.fixture
def lan(host: Machine) -> Machine:
    host.outside("lan", "eth0", default_route=False)
    return host


def of_names() -> dict[str, object]:
    """What there is of names: files with their contents, without what depends on the host's cookie; and processes."""
    found = [*Path("/run/netapply").glob("dns-*/**/*"), *Path("/etc/netns").glob("**/*")]
    texts: dict[str, object] = {str(path): path.read_text() if path.is_file() else "" for path in found}
    told: dict[str, object] = {name: re.sub(r"host=\d+", "", str(text)) for name, text in texts.items()}
    known = {name: sorted(inside(name).values()) for name in ("web", "api", "db", "new") if there(name)}
    return {**told, **known, "all": len(all_resolvers())}


def there(name: str) -> bool:
    return Path(f"/run/netns/{name}").exists()


def loaded(text: str) -> Manifest:
    return load(["-"], stdin=io.StringIO(text))


def ways(*manifests: Manifest) -> list[str]:
    """Go to one manifest after the other, and say how the last was come to; what is only done once is done before."""
    for _ in range(2):
        words = [told(one) for one in manifests]
    return words[-1]


def told(after: Manifest) -> list[str]:
    """The operations of going to a manifest, in words."""
    words: list[str] = []
    engine.converge(after, LinuxHost(trap=words.append), OPTIONS)
    return words


def about_names(words: list[str]) -> list[int]:
    return [at for at, what in enumerate(words) if re.search("resolver|names of|resolv.conf", what)]


@pytest.mark.thorough
def test_whichever_operation_fails_names_are_as_before(lan: Machine) -> None:
    before, after = applied(BEFORE, AFTER)
    words = ways(before, after)
    engine.converge(before, LinuxHost(), OPTIONS)
    mine, as_before = about_names(words), of_names()
    assert len([at for at in mine if "start the resolver" in words[at]]) == 3
    for at in {*mine, len(words) - 1}:
        with pytest.raises(ApplyFailed, match="the host is as it was before"):
            engine.converge(after, LinuxHost(trap=Counting(at, raising(errno.EBUSY))), OPTIONS)
        assert of_names() == as_before, f"{words[at]} failed"
        assert not engine.plan(before, LinuxHost(), OPTIONS).plan
    assert ask("web", OWN, "api").values == ("10.23.0.20",)
    assert set(ask("api", OWN, "api").values) == {"10.23.0.20", "10.25.0.20"}


@pytest.mark.thorough
def test_killed_at_whichever_operation_the_next_run_converges_and_leaves_no_process_behind(lan: Machine) -> None:
    before, after = applied(BEFORE, AFTER)
    words = ways(before, after)
    as_after = of_names()
    engine.converge(before, LinuxHost(), OPTIONS)
    for at in about_names(words):
        assert os.WIFSIGNALED(run_in_a_child(after, Counting(at, kill))), f"operation {at} was not reached"
        assert engine.converge(after, LinuxHost(), OPTIONS).plan or at == len(words) - 1
        assert of_names() == as_after, f"killed before it would {words[at]}"
        assert ask("new", OWN, "www").values == ("10.23.0.10",)
        engine.converge(before, LinuxHost(), OPTIONS)


@pytest.mark.thorough
def test_killed_at_whichever_operation_destroying_ends_all(lan: Machine) -> None:
    before, after = applied(BEFORE, AFTER)
    words = ways(before, after)
    engine.converge(before, LinuxHost(), OPTIONS)
    for at in about_names(words)[::2]:
        run_in_a_child(after, Counting(at, kill))
        engine.destroy("shop", LinuxHost(), OPTIONS)
        assert of_names() == {"all": 0}, f"killed before it would {words[at]}"
        engine.converge(before, LinuxHost(), OPTIONS)


@pytest.mark.thorough
def test_killed_at_whichever_operation_of_destroying_the_next_run_ends_all(lan: Machine) -> None:
    before, _ = applied(BEFORE, AFTER)
    words: list[str] = []
    engine.destroy("shop", LinuxHost(trap=words.append), OPTIONS)
    for at in about_names(words)[::2]:
        engine.converge(before, LinuxHost(), OPTIONS)
        pid = os.fork()
        if not pid:
            try:
                engine.destroy("shop", LinuxHost(trap=Counting(at, kill)), OPTIONS)
            finally:
                os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        engine.destroy("shop", LinuxHost(), OPTIONS)
        assert of_names() == {"all": 0}, f"killed before it would {words[at]}"


@pytest.mark.thorough
@pytest.mark.parametrize("act", [raising(errno.EBUSY), kill], ids=["fails", "killed"])
@pytest.mark.parametrize("again", [True, False], ids=["starts again", "has ended"])
def test_of_a_container_that_has_ended_no_process_is_left_whatever_happens(
    lan: Machine, again: bool, act: Callable[[], None]
) -> None:
    words: list[str] = []
    for at in range(1000):
        first, manifest = process(lan)
        engine.converge(loaded(manifest), LinuxHost(), OPTIONS)
        end(lan, first)
        if again:
            _, manifest = process(lan)
        after, trap = loaded(manifest), Counting(at, act)
        if not at:
            words = told(after)
        elif at < len(words) and not re.search("resolver|link of", words[at]):
            continue
        elif act is kill:
            run_in_a_child(after, trap)
        else:
            with suppress(ApplyFailed):
                engine.converge(after, LinuxHost(trap=trap), OPTIONS)
        engine.converge(after, LinuxHost(), OPTIONS)
        assert len(all_resolvers()) == 1 + again, f"operation {at}"
        assert not engine.plan(after, LinuxHost(), OPTIONS).plan
        if at >= len(words):
            break
    engine.destroy("shop", LinuxHost(), OPTIONS)
    assert all_resolvers() == set()

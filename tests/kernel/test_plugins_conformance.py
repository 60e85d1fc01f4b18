"""What plugins keep is the same on the host in memory and on Linux: the same changes through both, one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from reconciler.host import Host, Scope
from reconciler.host.fake import FakeHost
from reconciler.host.linux import LinuxHost
from reconciler.networks import SandboxRef
from reconciler.plan import Change, Create, Delete, Update
from reconciler.resources import HOST, Delegated, Netns, State

from ..machine import Machine
from . import cni_lab
from .docker_plugin import plugin
from .test_conformance import gone, made

pytestmark = pytest.mark.root

SCOPE = Scope("shop", {name: SandboxRef("netns", name, create=True) for name in ("web", "db")})
WEB, DB = Netns("web", "netns:web"), Netns("db", "netns:db")
TAGS = ("timeout=20", f"bin_dirs={cni_lab.BIN}")


def pods(container: str, interface: str = "eth0", mtu: int = 1500) -> Delegated:
    listed = {"cniVersion": "1.0.0", "name": "shop.pods", "plugins": [{"type": "lab", "mtu": mtu}]}
    request = {"conflist": listed, "name": "shop.pods", "container": f"shop.{container}-0123456789ab"}
    request |= {"args": {}, "runtime_config": {}, "addresses": [], "mac": ""}
    return Delegated(f"{container}/pods", "cni", container, json.dumps(request), interface, tags=TAGS)


CREATE = {"NetworkID": "a" * 64, "Options": {}, "IPv4Data": [], "IPv6Data": []}
LAN = Delegated("lan", "docker-plugin", HOST, json.dumps({"plugin": "lab", "create": CREATE}), tags=("timeout=20",))


def lan(container: str) -> Delegated:
    ids = {"NetworkID": "a" * 64, "EndpointID": container.encode().hex().ljust(64, "0")}
    interface = {"Address": "", "AddressIPv6": "", "MacAddress": "02:00:00:00:00:01"}
    request = {"plugin": "lab", "create": {**ids, "Options": {}, "Interface": interface}, "join": {}, "addresses": []}
    request |= {"mac": "02:00:00:00:00:01", "defaults": [], "routes": [], "sysctls": {}}
    path = f"{container}/lan"
    return Delegated(path, "docker-plugin", container, json.dumps(request), "lan0", after=("lan",), tags=TAGS[:1])


PROTECTED = replace(pods("web"), tags=("protect", *TAGS))

LISTS: dict[str, list[list[Change]]] = {
    "all is made once": [made(WEB, DB, pods("web"), pods("db"), LAN, lan("web"), lan("db"))],
    "nothing is made twice": [made(WEB, pods("web"), LAN), made(pods("web"), LAN)],
    "nothing is deleted that is not there": [gone(pods("web"), LAN)],
    "all goes again": [made(WEB, pods("web"), LAN, lan("web")), gone(lan("web"), pods("web"), LAN, WEB)],
    "a namespace must be there": [made(pods("web"))],
    "a network must be there": [made(WEB, lan("web"))],
    "a network stays while something is on it": [made(WEB, LAN, lan("web")), gone(LAN), gone(lan("web"), LAN)],
    "one interface has one name": [made(WEB, pods("web"), replace(pods("web"), path="web/more"))],
    "what is noted with it changes in place": [
        made(WEB, pods("web")),
        [Update(pods("web"), PROTECTED, ("tags",))],
        [Update(pods("db"), replace(pods("db"), tags=()), ("tags",))],
    ],
    "it is replaced": [made(WEB, pods("web")), [Delete(pods("web"), True), Create(pods("web", mtu=1400), True)]],
    "it is there after its namespace has gone, broken": [made(WEB, pods("web")), gone(WEB), made(WEB)],
}


@pytest.fixture
def lab(host: Machine) -> Iterator[None]:
    cni_lab.install()
    with plugin() as running:
        yield
        running.violations.clear()  # what is asked for by hand here is not all that netapply would ask


def outcomes(host: Host, lists: list[list[Change]]) -> Iterator[tuple[list[bool], State]]:
    """Make the changes; yield of each list which succeeded, and what plugins keep then."""
    host.observe(SCOPE)
    for changes in lists:
        done = [result.error is None for result in host.apply(changes)]
        state = host.observe(SCOPE).state
        yield done, {key: replace(one, trouble="") for key, one in state.items() if isinstance(one, Delegated)}
    host.release()


@pytest.mark.parametrize("name", LISTS)
def test_both_hosts_do_and_refuse_the_same(name: str, lab: None) -> None:
    real, fake = LinuxHost(), FakeHost()
    for one, other in zip(outcomes(real, LISTS[name]), outcomes(fake, LISTS[name]), strict=True):
        assert one == other

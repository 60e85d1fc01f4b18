"""The CNI project's own plugins, as Debian packages them, with real traffic."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import engine
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load

from ..dns import check_found
from ..machine import Machine
from .test_killed import kill, run_in_a_child
from .test_rollback import Counting

PLUGINS = Path("/usr/lib/cni")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not (PLUGINS / "bridge").exists(), reason="needs containernetworking-plugins (run `make deps`)"),
    pytest.mark.skipif(shutil.which("iptables") is None, reason="needs iptables (run `make deps`)"),
]

IPAM = {
    "type": "host-local",
    "dataDir": "/run/leases",
    "ranges": [[{"subnet": "10.22.0.0/24"}], [{"subnet": "fd00:22::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
IPV4 = {**IPAM, "ranges": IPAM["ranges"][:1], "routes": IPAM["routes"][:1]}
BRIDGE = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": IPAM}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
BANDWIDTH = {
    "type": "bandwidth",
    "ingressRate": 10**9,
    "ingressBurst": 10**9,
    "egressRate": 10**9,
    "egressBurst": 10**9,
}
TUNING = {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}}
PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}


def manifest(*plugins: dict[str, Any], containers: tuple[str, ...] = ("web", "db"), version: str = "1.0.0") -> str:
    listed = {"cniVersion": version, "plugins": plugins}
    published = {"driver_opts": {"runtime_config": {"portMappings": [PORT]}}} if PORTMAP in plugins else None
    endpoints = {name: {"networks": {"front": published if name == "web" else None}} for name in containers}
    network = {"driver": "cni", "driver_opts": {"conflist": listed}}
    return json.dumps({"project": "shop", "networks": {"front": network}, "containers": endpoints})


def apply(host: Machine, text: str) -> str:
    return host.netapply("-", stdin=text).stdout


def leases() -> list[str]:
    return sorted(path.name for path in Path("/run/leases").glob("*/*") if path.name[0].isdigit())


def rules(host: Machine) -> list[str]:
    """Return the firewall's rules that are about a container of ours."""
    saved = [line for tool in ("iptables-save", "ip6tables-save") for line in host.run(tool).stdout.splitlines()]
    return [line for line in saved if "shop." in line or " 10.22.0." in line or " fd00:22::" in line]


def links(host: Machine) -> list[str]:
    return sorted(one["ifname"] for one in host.json("ip -j link"))


@pytest.fixture(params=["nft", "legacy"])
def tables(request: pytest.FixtureRequest, host: Machine) -> Iterator[str]:
    """The host with iptables of that kind: the other one's program in its place, in this mount namespace only."""
    if request.param == "legacy":
        usual, other = (Path(f"/usr/sbin/xtables-{kind}-multi") for kind in ("nft", "legacy"))
        if not other.exists():
            pytest.skip("needs xtables-legacy-multi")
        host.run(f"mount --bind {other} {usual}")
        yield "legacy"
        host.run(f"umount {usual}")
    else:
        yield "nft"


def test_a_bridge_with_all_that_is_chained_to_it(host: Machine, tables: str) -> None:
    outside = host.outside()
    before = links(host)
    text = manifest(BRIDGE, PORTMAP, {"type": "firewall"}, BANDWIDTH, TUNING)
    apply(host, text)
    web4, web6 = host.addresses("web")[0], host.addresses("web", 6)[0]
    assert host.pings([("db", web4), ("db", web6), ("web", outside.ipv4), ("web", outside.ipv6)]) == [True] * 4
    assert host.tcp("web", "outside", outside.ipv4) == outside.host_ipv4
    with host.socket("web", "0.0.0.0", 80):
        connection = host.run(["bash", "-c", f"exec 3<>/dev/tcp/{outside.host_ipv4}/8080"], netns="outside")
    assert connection.returncode == 0
    assert host.sysctl("net.ipv4.conf.eth0.log_martians", netns="web") == "1"
    assert "tbf" in host.run("tc qdisc show").stdout
    ruleset = host.run("iptables-save").stdout
    assert "nothing to do" in apply(host, text)
    assert [line for line in host.run("iptables-save").stdout.splitlines() if line[:1] == "-"] == [
        line for line in ruleset.splitlines() if line[:1] == "-"
    ]
    host.netapply("destroy", "--project", "shop")
    assert links(host) == sorted([*before, "cni0"])  # which no plugin ever takes away
    assert (rules(host), leases(), host.names()) == ([], [], ["outside"])


def test_a_point_to_point_link(host: Machine) -> None:
    outside = host.outside()
    before = links(host)
    text = manifest({"type": "ptp", "ipMasq": True, "ipam": IPAM})
    apply(host, text)
    assert host.pings([("web", outside.ipv4), ("web", outside.ipv6)]) == [True, True]
    assert host.pings([("web", host.addresses("db")[0]), ("web", host.addresses("db", 6)[0])]) == [True, True]
    assert "nothing to do" in apply(host, text)
    host.netapply("destroy", "--project", "shop")
    assert (links(host), rules(host), leases()) == (before, [], [])


def test_a_macvlan(host: Machine) -> None:
    host.outside("lan", "uplink")
    host.run("ip addr add 10.22.0.200/24 dev eth0", netns="lan")
    host.run("ip addr add fd00:22::200/64 dev eth0 nodad", netns="lan")
    text = manifest({"type": "macvlan", "master": "uplink", "ipam": IPAM})
    apply(host, text)
    assert host.pings([("web", "10.22.0.200"), ("web", "fd00:22::200")]) == [True, True]
    assert host.ping("web", host.addresses("db")[0])
    assert "nothing to do" in apply(host, text)
    host.netapply("destroy", "--project", "shop")
    assert leases() == []


def test_pinned_addresses_and_macs(host: Machine) -> None:
    document = json.loads(manifest({**BRIDGE, "capabilities": {"mac": True}}, containers=("web",)))
    pinned = {"ipv4_address": "10.22.0.77", "ipv6_address": "fd00:22::77", "mac_address": "02:00:00:00:00:77"}
    document["containers"]["web"]["networks"]["front"] = pinned
    apply(host, json.dumps(document))
    assert (host.addresses("web"), host.addresses("web", 6)) == (["10.22.0.77"], ["fd00:22::77"])
    assert host.json("ip -j link show eth0", netns="web")[0]["address"] == "02:00:00:00:00:77"


DRIFT = {
    "ip -n web link del eth0": "bridge",
    "ip -n web addr flush dev eth0": "eth0",
    "ip -n web route del default": "bridge",
    """bash -c "iptables-save | grep -o CNI-DN-[0-9a-f]* | sort -u | xargs iptables -t nat -F" """: "portmap",
    "nsenter --net=/run/netns/web sysctl -w net.ipv4.conf.eth0.log_martians=0": "tuning",
    "rm -r /run/leases": "bridge",
}


@pytest.mark.parametrize("edit", DRIFT)
def test_drift_that_check_finds_is_mended(host: Machine, edit: str) -> None:
    text = manifest({**BRIDGE, "ipam": IPV4}, PORTMAP, TUNING)
    apply(host, text)
    host.run(edit)
    plan = host.netapply("plan", "--detailed-exitcode", "-", stdin=text, code=2).stdout
    assert DRIFT[edit] in plan
    assert "endpoint db" not in plan or "leases" in edit
    apply(host, text)
    assert "nothing to do" in apply(host, text)
    assert host.ping("db", host.addresses("web")[0])


def test_what_others_attached_by_the_same_plugins_stays(host: Machine) -> None:
    host.netns("theirs")
    config = json.dumps({"cniVersion": "1.0.0", "name": "podnet", **BRIDGE, "bridge": "cni9", "ipam": IPV4})
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "pod", "CNI_NETNS": "/run/netns/theirs", "CNI_IFNAME": "eth0"}
    host.run(str(PLUGINS / "bridge"), stdin=config, env={**environ, "CNI_PATH": str(PLUGINS)})
    before = host.snapshot("theirs"), host.addresses("theirs")
    text = manifest({**BRIDGE, "ipam": {**IPV4, "ranges": [[{"subnet": "10.23.0.0/24"}]]}})
    apply(host, text)
    host.netapply("destroy", "--project", "shop")
    assert (host.snapshot("theirs"), host.addresses("theirs")) == before
    assert [path.name for path in Path("/run/leases/podnet").iterdir() if path.name[0].isdigit()] == before[1]


def test_an_add_that_fails_in_the_middle_leaves_nothing(host: Machine) -> None:
    before = links(host)
    bad = {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.no_such_thing": "1"}}
    said = host.netapply("-", stdin=manifest(BRIDGE, PORTMAP, bad), code=1).stderr
    assert "CNI plugin tuning (/usr/lib/cni/tuning) failed at ADD" in said
    assert (links(host), rules(host), leases(), host.names()) == (sorted([*before, "cni0"]), [], [], [])


@pytest.mark.thorough
def test_killed_at_any_step_the_next_run_heals(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(manifest({**BRIDGE, "ipam": IPV4}, PORTMAP, containers=("web",)))
    wanted = load([str(path)])
    trap = Counting(None, lambda: None)
    engine.converge(wanted, LinuxHost(trap=trap))
    forwarded = len(rules(host))
    assert trap.seen >= 10
    for at in range(trap.seen):
        engine.destroy("shop", LinuxHost())
        assert os.WTERMSIG(run_in_a_child(wanted, Counting(at, kill))) == signal.SIGKILL
        engine.converge(wanted, LinuxHost())
        assert not engine.plan(wanted, LinuxHost()).plan
        assert len(host.addresses("web")) == len(leases()) == 1, f"killed at step {at}"
        assert len(rules(host)) == forwarded, f"killed at step {at}"
        assert len(links(host)) == 3, f"killed at step {at}"
    engine.destroy("shop", LinuxHost())
    assert (rules(host), leases(), links(host)) == ([], [], ["cni0", "lo"])


def test_containers_on_a_plugins_network_find_each_other_by_resolvers_of_their_own(host: Machine) -> None:
    declared = json.loads(manifest(BRIDGE))
    declared["dns"] = True
    for name, address in (("web", "10.22.0.70"), ("db", "10.22.0.71")):
        declared["containers"][name]["networks"]["front"] = {"ipv4_address": address}
    apply(host, json.dumps(declared))
    assert "nothing to do" in apply(host, json.dumps(declared))
    check_found("web", "db", "10.22.0.71")
    check_found("db", "web", "10.22.0.70")
    assert host.pings([("web", "10.22.0.71")]) == [True]
    host.netapply("destroy", "--project", "shop")
    assert [*Path("/run/netapply").glob("dns-*")] == []

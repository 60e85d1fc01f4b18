"""What netapply does not do: harm what is not its own, remove too much, run twice at once, or leave things behind."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from tests.machine import NETAPPLY, Machine

from .many_changes import changes, snapshot

SHOP = """
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
  back: {internal: true, ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web: {networks: [front, back]}
  db: {networks: [back]}
"""

FRONT_ONLY = """
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web: {networks: [front]}
"""


def many(number: int) -> str:
    """A manifest with so many endpoints on one network."""
    containers = "".join(f"  c{one}: {{networks: [front]}}\n" for one in range(number))
    return f"version: 1\nproject: shop\nnetworks:\n  front: {{}}\ncontainers:\n{containers}"


# --- conflicts


@pytest.mark.parametrize(
    ("make", "named"),
    [
        ("ip link add shop-front type bridge", "interface name shop-front in the host is taken: a bridge link"),
        ("ip netns add web", "netns:web: it exists and netapply did not make it; `create: false` uses it as it is"),
        ("nft add table inet netapply-shop", "nft table inet netapply-shop is taken: netapply did not make it"),
        ("ip link add nic up type veth peer name nic-far", "10.20.0.0/24"),
    ],
)
def test_what_stands_in_the_way_is_named_and_nothing_is_touched(host: Machine, make: str, named: str) -> None:
    host.run(make)
    if "nic" in make:
        host.run("ip addr add 10.20.0.7/24 dev nic")
    before = host.snapshot()
    done = host.netapply("-", stdin=SHOP, code=None)
    assert done.returncode in (3, 65)
    assert named in done.stderr
    assert host.snapshot() == before


def test_a_namespace_of_another_project_is_named_with_its_project(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    other = SHOP.replace("project: shop", "project: mall").replace("10.2", "10.3")
    assert "project shop made it" in host.netapply("-", stdin=other, code=3).stderr


def test_two_projects_live_side_by_side_and_neither_touches_the_other(host: Machine) -> None:
    other = SHOP.replace("shop", "mall").replace("10.2", "10.3").replace("web:", "shop:").replace("db:", "store:")
    host.netapply("-", stdin=SHOP)
    alone = host.snapshot("web")
    host.netapply("-", stdin=other)
    assert "nothing to do" in host.netapply("-", stdin=SHOP).stdout
    host.netapply("destroy", "--project", "mall")
    assert "nothing to do" in host.netapply("-", stdin=SHOP).stdout
    assert host.snapshot("web") == alone


def nowhere(project: str, number: int, destination: str) -> str:
    """A project with one container in a namespace that is not its own, and there a route to nowhere."""
    route = f"{{destination: {destination}, type: blackhole}}" if destination else ""
    return f"""
project: {project}
networks:
  net: {{no_default_route: true, ipam: {{config: [{{subnet: 10.2{number}.0.0/24}}]}}, routes: [{route}]}}
containers:
  c{number}: {{sandbox: {{netns: theirs, create: false}}, networks: {{net: {{interface_name: eth{number}}}}}}}
"""


def test_two_projects_in_one_namespace_leave_each_others_routes_to_nowhere_alone(host: Machine) -> None:
    """They are by no link that would say whose they are; what is left of one goes with the other."""

    def routes() -> list[str]:
        return [one["dst"] for one in host.json("ip -j route show type blackhole", netns="theirs")]

    host.netns("theirs")
    one, two = nowhere("one", 0, "192.0.2.0/25"), nowhere("two", 1, "192.0.2.128/25")
    for text in (one, two):
        host.netapply("-", stdin=text)
    for text in (one, two):
        assert "nothing to do" in host.netapply("-", stdin=text).stdout
    host.netapply("-", stdin=nowhere("one", 0, "198.51.100.0/24"))
    assert sorted(routes()) == ["192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24"]
    host.netapply("destroy", "--project", "one")
    assert "192.0.2.128/25" in routes()
    host.netapply("-", stdin=two)
    assert routes() == ["192.0.2.128/25"]
    host.netapply("destroy", "--project", "two")
    assert routes() == []


def test_foreign_ports_addresses_and_routes_on_our_links_stay(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    host.run("ip link add guest type veth peer name guest-far")
    host.run("ip link set guest master shop-front")
    host.run("ip addr add 192.0.2.1/24 dev shop-front")
    host.run("ip addr add 192.0.2.2/24 dev eth0", netns="web")
    host.run("ip route add 198.51.100.0/24 via 10.20.0.9 dev eth0", netns="web")
    before, inside = host.snapshot(), host.snapshot("web")
    assert "nothing to do" in host.netapply("-", stdin=SHOP).stdout
    host.netapply("-", stdin=SHOP.replace("internal: true,", ""))
    assert "192.0.2.1/24" in host.snapshot()
    assert "guest" in host.run("ip link show master shop-front").stdout
    assert "192.0.2.2/24" in host.snapshot("web")
    assert "198.51.100.0/24" in host.snapshot("web")
    host.netapply("-", stdin=SHOP)
    assert (host.snapshot(), host.snapshot("web")) == (before, inside)


def test_a_process_in_a_namespace_keeps_it_until_it_ends(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    living = host.start("sleep 60", netns="db")
    said = host.netapply("destroy", "--project", "shop").stdout
    assert "stays until the processes in it have ended" in said
    assert host.names() == ["db"]
    assert host.addresses("db") == []
    living.kill()
    living.wait(timeout=10)
    host.netapply("destroy", "--project", "shop")
    assert host.names() == []


# --- too much at once


def test_removing_most_endpoints_is_refused_unless_forced(host: Machine) -> None:
    host.netapply("-", stdin=many(12))
    before = host.snapshot()
    assert "8 of 12 endpoints would be removed" in host.netapply("-", stdin=many(4), code=3).stderr
    assert host.snapshot() == before
    host.netapply("-", stdin=many(9))
    host.netapply("-", "--force", stdin=many(2))
    assert host.names() == ["c0", "c1"]


def test_an_emptied_manifest_is_refused_unless_forced(host: Machine) -> None:
    host.netapply("-", stdin=many(2))
    empty = "version: 1\nproject: shop\n"
    assert "the manifest has no networks left" in host.netapply("-", stdin=empty, code=3).stderr
    host.netapply("-", "--force", stdin=empty)
    assert host.names() == []


LAN = """
version: 1
project: lan
networks:
  lan: {driver: macvlan, protect: PROTECT, driver_opts: {parent: PARENT}}
containers:
  web: {networks: [lan]}
"""


def test_the_last_container_may_leave_a_network_that_has_no_link_of_its_own(host: Machine) -> None:
    lan = LAN.replace("PARENT", host.outside().link).replace("PROTECT", "false")
    host.netapply("-", stdin=lan)
    host.netapply("-", stdin=lan.replace("{networks: [lan]}", "{}"))
    assert [link["ifname"] for link in host.json("ip -j link", netns="web")] == ["lo"]


def test_a_protected_network_without_a_link_is_not_moved_to_another_parent(host: Machine) -> None:
    lan = LAN.replace("PARENT", host.outside().link).replace("PROTECT", "true")
    other = LAN.replace("PARENT", host.outside("elsewhere", "other", default_route=False).link).replace(
        "PROTECT", "true"
    )
    host.netapply("-", stdin=lan)
    assert "network lan is protected and would be replaced" in host.netapply("-", stdin=other, code=3).stderr
    host.run("ip link delete eth0", netns="web")
    host.netapply("-", stdin=lan)  # to mend is not to replace


def test_what_stays_is_in_the_way_of_an_interface_that_would_have_its_name(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    before = host.snapshot()
    name = interface_of(host, "10.21.0.")
    renamed = FRONT_ONLY.replace("[front]", f"{{front: {{interface_name: {name}}}}}")
    refused = host.netapply("--no-prune", "-", stdin=renamed, code=3)
    assert f"interface {name} in web is wanted by web/front, and --no-prune leaves web/back" in refused.stderr
    assert host.snapshot() == before


def interface_of(host: Machine, start: str) -> str:
    """The link in web whose address starts so."""
    links = host.json("ip -j addr", netns="web")
    return next(str(link["ifname"]) for link in links if any(a["local"].startswith(start) for a in link["addr_info"]))


def test_an_external_network_needs_a_bridge(host: Machine) -> None:
    uplink = host.outside().link
    network = f"{{external: true, driver_opts: {{name: {uplink}}}}}"
    manifest = f"version: 1\nproject: p\nnetworks:\n  x: {network}\ncontainers:\n  web: {{networks: [x]}}\n"
    refused = host.netapply("-", stdin=manifest, code=69)
    assert f"{uplink} is a veth link, and endpoints need a bridge" in refused.stderr


def test_what_is_not_as_it_should_be_after_applying_is_told_with_both_values(host: Machine) -> None:
    spelt = FRONT_ONLY.replace("[front]", '{front: {sysctls: {net.ipv4.conf.IFNAME.rp_filter: "0x1"}}}')
    said = host.netapply("-", stdin=spelt, code=1).stderr
    assert "update link web/front (sysctls.ipv4.conf.rp_filter is 1, not 0x1)" in said


def test_a_protected_network_is_never_removed_not_even_by_force(host: Machine) -> None:
    uplink = host.outside().link
    protected = SHOP.replace("back: {", "back: {protect: true, ")
    host.netapply("-", stdin=protected)
    for arguments, text in (
        (["-", "--force"], FRONT_ONLY),
        (
            ["-", "--force"],
            protected.replace("back: {", f"back: {{driver: macvlan, driver_opts: {{parent: {uplink}}}, "),
        ),
        (["destroy", "--project", "shop"], None),
    ):
        done = host.netapply(*arguments, stdin=text, code=None)
        assert (done.returncode, "network back is protected" in done.stderr) == (3, True), done.stdout + done.stderr
    host.netapply("-", stdin=SHOP)
    host.netapply("-", stdin=FRONT_ONLY)
    assert host.names() == ["outside", "web"]


# --- what the manifest does not name


def test_without_pruning_what_is_not_named_goes_on_working(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=SHOP.replace("internal: true,", ""))
    db = host.addresses("db")[0]
    new = FRONT_ONLY.replace("web:", "api:").replace("front", "fresh").replace("10.20.", "10.24.")
    host.netapply("-", "--no-prune", stdin=new)
    assert host.names() == ["api", "db", "outside", "web"]
    assert "nothing to do" in host.netapply("-", "--no-prune", stdin=new).stdout
    assert host.ping("web", db)
    assert host.tcp("db", "outside", outside.ipv4) == outside.host_ipv4
    assert not host.ping("api", db, within=0.5)
    host.netapply("-", "--force", stdin=new)
    assert host.names() == ["api", "outside"]


# --- runs


def test_two_runs_at_once_take_turns_and_the_second_has_nothing_to_do(host: Machine, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(many(30))
    runs = [host.start([*NETAPPLY, str(path)]) for _ in range(3)]
    said = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert sorted("nothing to do" in out for out, _ in said) == [False, True, True]


def test_a_run_that_can_not_have_the_lock_ends_with_75_and_says_who_holds_it(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    (path,) = Path("/run/netapply").glob("*lock*")
    with path.open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run" in host.netapply("--lock-timeout", "0", "-", stdin=SHOP, code=75).stderr
        host.netapply("plan", "-", stdin=SHOP)


def test_without_the_rights_the_exit_code_is_77_and_they_are_named(host: Machine) -> None:
    host.netapply("-", stdin=SHOP)
    before = host.snapshot()
    done = host.run(
        ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *NETAPPLY, "-"], stdin=FRONT_ONLY, check=False
    )
    assert done.returncode == 77, done.stdout + done.stderr
    assert "CAP_NET_ADMIN" in done.stderr
    assert "Traceback" not in done.stderr
    assert host.snapshot() == before


def test_a_plan_changes_nothing_and_says_what_apply_then_does(host: Machine) -> None:
    before = host.snapshot()
    planned = json.loads(host.netapply("plan", "--format", "json", "-", stdin=SHOP).stdout)
    assert host.snapshot() == before
    assert not Path("/run/netapply").exists() or not list(Path("/run/netapply").glob("*lock*"))
    done = json.loads(host.netapply("--format", "json", "-", stdin=SHOP).stdout)
    assert done["changes"] == planned["changes"]


def test_destroy_leaves_nothing_but_forwarding_and_its_guard(host: Machine) -> None:
    host.outside()
    before = host.snapshot()
    host.netapply("-", stdin=SHOP)
    host.netapply("destroy", "--project", "shop")
    after = host.snapshot()
    guard = host.run("nft -s list table inet netapply").stdout
    assert after.replace(guard.rstrip(), "").split() == before.split()
    assert host.sysctl("net.ipv4.ip_forward") == "1"


@pytest.mark.parametrize(
    "damage",
    [
        "ip link del shop-front",
        "ip link set shop-front down",
        "ip link set shop-front mtu 1300",
        "ip addr del 10.20.0.1/24 dev shop-front",
        "ip -n web link del eth0",
        "ip -n web link set eth0 down",
        "ip -n web addr flush dev eth0",
        "ip -n web route del default",
        "ip -n web link set eth0 address 02:00:00:00:00:99",
        "ip -n db link set lo down",
        "ip netns del db",
        "nft delete table inet netapply-shop",
        "nft flush ruleset",
        "nft add rule inet netapply-shop forward accept",
        "nft flush chain inet netapply-shop forward",
        "sysctl -qw net.ipv4.ip_forward=0",
        "ip link set shop-front name renamed",
        "rm -rf /run/netapply",
    ],
)
def test_drift_is_mended(host: Machine, damage: str) -> None:
    outside = host.outside()
    host.netapply("-", stdin=SHOP)
    before = snapshot(accepting=())
    if damage.startswith("ip link set shop-front name"):
        host.run("ip link set shop-front down")
    host.run(damage)
    host.netapply("-", stdin=SHOP)
    assert "nothing to do" in host.netapply("-", stdin=SHOP).stdout
    assert host.ping("web", outside.ipv4)
    assert host.ping("web", host.addresses("db")[0])
    assert not [*changes(before, snapshot(accepting=()))]

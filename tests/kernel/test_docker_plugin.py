"""Docker's network plugins as netapply speaks to them; `docker_plugin` compares every request with the protocol."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ..dns import check_found
from ..machine import Machine
from .docker_plugin import SOCKET, Plugin, ip, plugin, reply

pytestmark = pytest.mark.root

BOTH = [{"subnet": "10.50.0.0/24"}, {"subnet": "fd00:50::/64"}]


@pytest.fixture
def lab(host: Machine) -> Iterator[Plugin]:
    """A plugin "lab" on an isolated host."""
    with plugin() as running:
        yield running


def manifest(*containers: str, network: dict[str, Any] | None = None, timeout: int = 20, **endpoint: Any) -> str:
    driver_opts = {"plugin": "lab", "opts": {"colour": "red", "depth": 3, "deep": True}, "timeout": timeout}
    front = {"driver": "docker-plugin", "driver_opts": driver_opts, "ipam": {"config": BOTH}, **(network or {})}
    return json.dumps(
        {
            "project": "shop",
            "networks": {"front": front} if containers else {},
            "containers": {name: {"networks": {"front": endpoint}} for name in containers},
        }
    )


def apply(host: Machine, text: str, code: int = 0) -> str:
    done = host.netapply("-", stdin=text, code=code)
    return done.stdout + done.stderr


def records() -> list[Path]:
    return sorted(Path("/run/netapply").glob("plugins-*/*/*.json"))


def test_a_network_and_its_endpoints_come_and_go_in_turn(host: Machine, lab: Plugin) -> None:
    before = host.snapshot()
    apply(host, manifest("web", "db"))
    made = [call for call in lab.calls if call not in ("Activate", "GetCapabilities", "EndpointOperInfo")]
    assert made == ["CreateNetwork", *["CreateEndpoint", "Join"] * 2]
    assert (len(lab.networks), len(lab.endpoints)) == (1, 2)
    pairs = [(one, address) for one in ("web", "db") for other in ("web", "db") for address in _addresses(host, other)]
    assert all(host.pings([*pairs, ("web", "10.50.0.1"), ("db", "fd00:50::1")]))
    lab.calls.clear()
    host.netapply("destroy", "--project", "shop")
    deleted = [call for call in lab.calls if call != "EndpointOperInfo"]
    assert deleted == [*["Leave", "DeleteEndpoint"] * 2, "DeleteNetwork"]
    assert (lab.networks, lab.endpoints, records(), host.snapshot()) == ({}, {}, [], before)


def _addresses(host: Machine, name: str) -> list[str]:
    return [*host.addresses(name), *host.addresses(name, 6)]


def test_the_plugin_is_told_what_docker_would_tell_it(host: Machine, lab: Plugin) -> None:
    pinned: dict[str, Any] = {
        "ipv4_address": "10.50.0.10",
        "mac_address": "02:00:00:00:00:10",
        "driver_opts": {"opts": {"qos": 7}},
    }
    apply(host, manifest("web", **pinned))
    asked = dict(lab.asked)
    assert asked["CreateNetwork"]["Options"] == {
        "com.docker.network.enable_ipv4": True,
        "com.docker.network.enable_ipv6": True,
        "com.docker.network.generic": {"colour": "red", "depth": "3", "deep": "true"},
    }
    (pool,) = asked["CreateNetwork"]["IPv4Data"]
    assert pool == {"AddressSpace": "LocalDefault", "Pool": "10.50.0.0/24", "Gateway": "10.50.0.1/24"}
    interface = asked["CreateEndpoint"]["Interface"]
    assert (interface["Address"], interface["MacAddress"]) == ("10.50.0.10/24", "02:00:00:00:00:10")
    assert asked["CreateEndpoint"]["Options"]["qos"] == "7"
    assert asked["Join"]["SandboxKey"] == "/run/netns/web"
    apply(host, manifest("web", network={"internal": True}, **pinned))
    asked = dict(lab.asked)
    assert asked["CreateNetwork"]["Options"]["com.docker.network.internal"] is True
    assert asked["CreateNetwork"]["IPv4Data"] == [{"AddressSpace": "LocalDefault", "Pool": "10.50.0.0/24"}]
    assert host.json("ip -j route show default", netns="web") == []


def test_what_join_says_is_done_in_the_container(host: Machine, lab: Plugin) -> None:
    lab.more_in_join = {
        "StaticRoutes": [
            {"Destination": "192.0.2.0/24", "RouteType": 0, "NextHop": "169.254.1.1"},
            {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""},
            {"Destination": "2001:db8:9::/48", "RouteType": 0, "NextHop": "fd00:50::1"},
        ]
    }
    setting = {"net.ipv4.conf.IFNAME.log_martians": 1}
    network = {"routes": [{"destination": "198.51.100.0/24", "via": "10.50.0.7"}]}
    pinned: dict[str, Any] = {
        "mac_address": "02:00:00:00:00:10",
        "link_local_ips": ["169.254.9.9"],
        "interface_name": "front0",
    }
    apply(host, manifest("web", network=network, sysctls=setting, **pinned))
    (link,) = host.json("ip -j addr show front0", netns="web")
    assert (link["address"], "UP" in link["flags"]) == ("02:00:00:00:00:10", True)
    assert "169.254.9.9" in [one["local"] for one in link["addr_info"]]
    routes = {(one["dst"], one.get("gateway")) for one in host.json("ip -j route", netns="web")}
    assert routes >= {
        ("default", "10.50.0.1"),
        ("192.0.2.0/24", "169.254.1.1"),
        ("169.254.1.1", None),
        ("198.51.100.0/24", "10.50.0.7"),
    }
    routes6 = {(one["dst"], one.get("gateway")) for one in host.json("ip -6 -j route", netns="web")}
    assert routes6 >= {("default", "fd00:50::1"), ("2001:db8:9::/48", "fd00:50::1")}
    assert host.sysctl("net.ipv4.conf.front0.log_martians", netns="web") == "1"
    assert "nothing to do" in apply(host, manifest("web", network=network, sysctls=setting, **pinned))


def test_only_one_network_carries_the_default_route(host: Machine, lab: Plugin) -> None:
    text = json.loads(manifest("web"))
    text["networks"]["back"] = {"internal": False, "ipam": {"config": [{"subnet": "10.51.0.0/24"}]}}
    text["containers"]["web"]["networks"]["back"] = {"gw_priority": 10}
    apply(host, json.dumps(text))
    (default,) = host.json("ip -j route show default", netns="web")
    assert default["gateway"] == "10.51.0.1"
    (default6,) = host.json("ip -6 -j route show default", netns="web")
    assert default6["gateway"] == "fd00:50::1"


def test_a_second_apply_asks_only_whether_all_is_well_and_writes_nothing(host: Machine, lab: Plugin) -> None:
    apply(host, manifest("web", "db"))
    before, lab.calls = (host.snapshot(), host.snapshot("web")), []
    assert "nothing to do" in apply(host, manifest("web", "db"))
    assert set(lab.calls) == {"Activate", "GetCapabilities", "EndpointOperInfo"}
    assert (host.snapshot(), host.snapshot("web")) == before


@pytest.mark.parametrize(
    "edit",
    [
        "ip -n web link del eth0",
        "ip -n web addr flush dev eth0",
        "ip -n web link set eth0 down",
        "ip -n web route del default",
        "ip -n web link set eth0 name other",
    ],
)
def test_drift_in_the_container_is_mended(host: Machine, lab: Plugin, edit: str) -> None:
    apply(host, manifest("web", "db"))
    host.run(edit)
    said = host.netapply("plan", "--detailed-exitcode", "-", stdin=manifest("web", "db"), code=2).stdout
    assert "the container lacks eth0, or its addresses or routes" in said
    lab.violations.clear()
    apply(host, manifest("web", "db"))
    lab.violations.clear()  # a link that is lost, or has another name, can't be given back
    assert host.ping("db", host.addresses("web")[0])
    assert "nothing to do" in apply(host, manifest("web", "db"))


def test_a_plugin_that_forgot_everything_is_told_again(host: Machine, lab: Plugin) -> None:
    apply(host, manifest("web", "db"))
    (network,) = lab.networks.values()
    ip(f"link del {network['bridge']}")
    lab.networks, lab.endpoints, lab.joined = {}, {}, set()
    assert "its plugin has forgotten it" in host.netapply("plan", "-", stdin=manifest("web", "db")).stdout
    for one in ("web", "db"):
        host.run("ip link del eth0", netns=one)
    apply(host, manifest("web", "db"))
    assert host.ping("db", host.addresses("web")[0])


def test_lost_records_cost_time_and_no_truth(host: Machine, lab: Plugin) -> None:
    apply(host, manifest("web"))
    addresses = _addresses(host, "web")
    shutil.rmtree(next(Path("/run/netapply").glob("plugins-*")))
    apply(host, manifest("web"))
    assert lab.calls.count("CreateNetwork") == lab.calls.count("CreateEndpoint") == 3  # "it exists" each, once
    lab.violations.clear()  # nobody knows any more what the link was called that should be given back
    assert _addresses(host, "web") == addresses


def err(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, json.dumps({"Err": "out of vlans\x1b[2J"}).encode())


def status(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b"boom", 500)


def status_with_err(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, json.dumps({"Err": "no decoder"}).encode(), 400)


def garbage(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b"<html>")


def no_object(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b"[1]")


def too_long(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b" " * (2 << 20))


def hang(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.settimeout(20)
    handler.rfile.read(1)  # until netapply has had enough and closes


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    try:
        for number in range(100):
            handler.wfile.write(b"X-%d: y\r\n" % number)
            handler.wfile.flush()
            time.sleep(0.1)
    except OSError:
        return


def nothing(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


FAULTS = {
    err: "out of vlans [2J",
    status: "HTTP status 500, boom",
    status_with_err: "no decoder",
    garbage: "its answer is no JSON object, but b'<html>'",
    no_object: "its answer is no JSON object",
    too_long: "its answer has more than 1 MiB",
    hang: "it had not answered after 2 s",
    drip: "it had not answered after 2 s",
    nothing: "failed at NetworkDriver.",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("method", ["CreateNetwork", "CreateEndpoint", "Join"])
def test_errors_of_the_plugin_are_told_and_undone(host: Machine, lab: Plugin, method: str, fault: Any) -> None:
    before = host.snapshot()
    lab.faults[method] = fault
    said = apply(host, manifest("web", timeout=2 if fault in (hang, drip) else 20), code=1)
    assert f"Docker plugin lab ({SOCKET}) failed at NetworkDriver.{method}: " in said
    assert FAULTS[fault] in said
    assert "the host is as it was before" in said
    assert (lab.networks, lab.endpoints, records()) == ({}, {}, [])
    assert host.snapshot() == before
    lab.faults.clear()
    apply(host, manifest("web"))


def test_an_answer_without_end_is_cut_off_though_the_plugin_has_said_that_it_will_close(
    host: Machine, lab: Plugin
) -> None:
    """HTTPConnection does not hold on to the socket then, though all is still to be read."""

    def drip_on(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(OSError):
            for _ in range(200):
                handler.wfile.write(b" ")
                time.sleep(0.1)
            lab.violations.append("all of it was waited for")

    lab.faults["CreateNetwork"] = drip_on
    assert "it had not answered after 2 s" in apply(host, manifest("web", timeout=2), code=1)


JOINS: dict[str, tuple[dict[str, Any], str]] = {
    "names no link": ({"InterfaceName": {"SrcName": "nosuch", "DstPrefix": "eth"}}, "link nosuch: No such device"),
    "names lo": ({"InterfaceName": {"SrcName": "lo", "DstPrefix": "eth"}}, "which is no link of the plugin's"),
    "a name that is none": ({"InterfaceName": {"SrcName": 7}}, "which is no link"),
    "a bad gateway": ({"Gateway": "nowhere"}, "has a bad route"),
    "a gateway out of reach": ({"Gateway": "192.0.2.1"}, "route 0.0.0.0/0 of web/front"),
}


@pytest.mark.parametrize("what", JOINS)
def test_a_join_that_makes_no_sense_is_told_and_undone(host: Machine, lab: Plugin, what: str) -> None:
    before = host.snapshot()
    lab.more_in_join, expected = JOINS[what]
    assert expected in apply(host, manifest("web"), code=1)
    assert (lab.networks, lab.endpoints, records()) == ({}, {}, [])
    assert host.snapshot() == before


def test_a_plugin_that_wants_other_addresses_is_an_error(host: Machine, lab: Plugin) -> None:
    def other(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, json.dumps({"Interface": {"Address": "10.99.0.1/24"}}).encode())

    lab.faults["CreateEndpoint"] = other
    assert "wants Address 10.99.0.1/24 for web/front" in apply(host, manifest("web"), code=1)
    lab.faults.clear()
    lab.violations.clear()


def test_what_is_no_network_plugin_is_found_before_anything_is_touched(host: Machine, lab: Plugin) -> None:
    lab.faults["Activate"] = lambda handler: reply(handler, b'{"Implements": ["VolumeDriver"]}')
    assert "is no network driver" in apply(host, manifest("web"), code=69)
    assert host.names() == []


def test_a_plugin_that_is_not_there_is_named_with_the_mend(host: Machine) -> None:
    said = apply(host, manifest("web"), code=69)
    assert "there is no Docker plugin lab in /run/docker/plugins; start it" in said
    with plugin():
        apply(host, manifest("web"))
    stale = host.run(["python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind('{SOCKET}')"])
    assert stale.returncode == 0
    assert f"does not listen on {SOCKET}; start it" in apply(host, manifest("web"), code=69)


def test_a_socket_that_others_could_have_made_is_not_spoken_to(host: Machine, lab: Plugin) -> None:
    SOCKET.parent.chmod(0o777)
    assert "others than root can write to /run/docker/plugins" in apply(host, manifest("web"), code=69)
    SOCKET.parent.chmod(0o755)
    assert lab.calls == []


def test_another_option_replaces_the_network_and_all_on_it(host: Machine, lab: Plugin) -> None:
    apply(host, manifest("web", "db"))
    before = _addresses(host, "web")
    opts = {"plugin": "lab", "opts": {"colour": "blue"}, "timeout": 20}
    said = apply(host, manifest("web", "db", network={"driver_opts": opts}))
    assert "create.Options.com.docker.network.generic.colour red → blue" in said
    assert _addresses(host, "web") == before
    assert host.ping("db", before[0])


def test_subnets_and_addresses_that_were_chosen_stay(host: Machine, lab: Plugin) -> None:
    chosen = {"ipam": {}, "enable_ipv6": True}
    apply(host, manifest("web", network=chosen))
    before = _addresses(host, "web")
    apply(host, manifest("api", "db", "web", network=chosen))
    assert _addresses(host, "web") == before
    assert "nothing to do" in apply(host, manifest("api", "db", "web", network=chosen))


def test_containers_on_a_plugins_network_find_each_other_by_resolvers_of_their_own(host: Machine, lab: Plugin) -> None:
    declared = json.loads(manifest("web", "db"))
    declared["dns"] = True
    for name, number in (("web", 70), ("db", 71)):
        pinned = {"ipv4_address": f"10.50.0.{number}", "ipv6_address": f"fd00:50::{number}"}
        declared["containers"][name]["networks"]["front"] = pinned
    apply(host, json.dumps(declared))
    assert "nothing to do" in apply(host, json.dumps(declared))
    check_found("web", "db", "10.50.0.71", "fd00:50::71")
    check_found("db", "web", "10.50.0.70", "fd00:50::70")
    assert host.pings([("web", "10.50.0.71"), ("web", "fd00:50::71")]) == [True, True]
    host.netapply("destroy", "--project", "shop")
    assert [*Path("/run/netapply").glob("dns-*")] == []

"""Names on networks that the host has no address on: a real dnsmasq in the container's own namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.dns import Answer, Upstream, ask
from tests.machine import Machine

from .test_dns import apply, files, in_a_process, kill, resolvers

OWN = "127.0.0.11"
NXDOMAIN = Answer("NXDOMAIN")

LAN = """
version: 1
project: shop
dns: true
networks:
  lan:
    driver: macvlan
    driver_opts: {parent: eth0}
    ipam: {config: [{subnet: 10.23.0.0/24, gateway: 10.23.0.2}, {subnet: "fd00:23::/64"}]}
  side:
    driver: macvlan
    driver_opts: {parent: eth0}
    ipam: {config: [{subnet: 10.24.0.0/24}]}
containers:
  one: {networks: {lan: {ipv4_address: 10.23.0.10, ipv6_address: "fd00:23::10"}}}
  two:
    networks:
      lan: {ipv4_address: 10.23.0.11, ipv6_address: "fd00:23::11", aliases: [www]}
      side: {ipv4_address: 10.24.0.11}
  three: {networks: {side: {ipv4_address: 10.24.0.12}}, dns: {search: shop.example, options: ["ndots:2"]}}
"""


@pytest.fixture
def lan(host: Machine) -> Machine:
    """A host with a card, and a server in the network there that the host's resolv.conf names."""
    host.outside("lan", "eth0", default_route=False)
    for address in ("10.23.0.2/24", "fd00:23::2/64"):
        host.run(
            f"ip addr add {address} dev eth0 nodad" if ":" in address else f"ip addr add {address} dev eth0",
            netns="lan",
        )
    return host


def inside(netns: str) -> dict[int, str]:
    """The resolvers in a network namespace: PIDs, and the files that they were started with."""
    path = f"/run/netns/{netns}" if "/" not in netns else netns
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if len(words) > 1 and words[0].endswith(b"dnsmasq") and same(f"{entry}/ns/net", path):
                found[int(entry.name)] = words[1].decode().partition("=")[2]
        except OSError:
            continue
    return found


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended may be there until somebody asks how."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def same(one: str, other: str) -> bool:
    return os.stat(one).st_ino == os.stat(other).st_ino


def test_names_are_found_by_udp_and_tcp_and_those_of_its_networks_alone(lan: Machine) -> None:
    apply(lan, LAN)
    for tcp in (False, True):
        assert ask("one", OWN, "two", tcp=tcp).values == ("10.23.0.11",)
        assert ask("one", OWN, "www.lan", "AAAA", tcp=tcp).values == ("fd00:23::11",)
        assert ask("one", OWN, "three", tcp=tcp) == NXDOMAIN
        assert ask("two", OWN, "three", tcp=tcp).values == ("10.24.0.12",)
        assert set(ask("two", OWN, "two", tcp=tcp).values) == {"10.23.0.11", "10.24.0.11"}
        assert ask("three", OWN, "one", tcp=tcp) == NXDOMAIN
        assert ask("one", OWN, "11.0.23.10.in-addr.arpa", "PTR", tcp=tcp).values == ("two",)
    assert resolvers() == {}
    assert lan.run("ip netns exec one getent hosts www").stdout.split()[0] in ("10.23.0.11", "fd00:23::11")
    assert Path("/etc/netns/three/resolv.conf").read_text().splitlines()[1:] == [
        f"nameserver {OWN}",
        "search shop.example",
        "options ndots:2",
    ]


def test_it_listens_at_one_address_only_and_has_no_rights(lan: Machine) -> None:
    apply(lan, LAN)
    listening = {line.split()[4] for line in lan.run("ip netns exec one ss -Hlntu").stdout.splitlines()}
    assert listening == {f"{OWN}:53"}
    (pid,) = inside("one")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nCapEff:\t0000000000000000\n" in status
    assert "\nUid:\t0\t" not in status
    for kind in ("mnt", "pid"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/thread-self/ns/{kind}")


def test_a_killed_one_is_drift_and_so_are_edited_and_lost_files(lan: Machine) -> None:
    apply(lan, LAN)
    as_made = {path: Path(path).read_text() for path in files()}
    (pid,) = inside("one")
    kill(pid)
    assert "started anew: it does not run" in lan.netapply("plan", "-", stdin=LAN).stdout
    apply(lan, LAN)
    (conf,) = inside("one").values()
    with open(conf, "a") as file:
        file.write("address=/evil.example/10.20.0.66\n")
    apply(lan, LAN)
    assert {path: Path(path).read_text() for path in files()} == as_made
    before = {name: inside(name) for name in ("one", "two", "three")}
    lan.run(["sh", "-c", "rm -r /run/netapply/dns-*"])
    apply(lan, LAN)
    assert {path: Path(path).read_text() for path in files()} == as_made
    for name, was in before.items():
        assert len(inside(name)) == 1
        assert not inside(name).keys() & was.keys()
    lan.run(["sh", "-c", "rm -r /run/netapply/dns-*"])
    lan.netapply("destroy", "--project", "shop")
    assert lan.run("ip netns list").stdout.split()[:1] == ["lan"]
    assert not Path("/run/netns/one").exists()


def test_explain_tells_of_the_resolver_at_its_address(lan: Machine) -> None:
    Path("/run/lan.yaml").write_text(LAN)
    words = ("explain", "-f", "/run/lan.yaml", "one", f"{OWN}:53")
    assert "127.0.0.11: no" in lan.netapply(*words).stdout
    apply(lan, LAN)
    assert f"one reaches {OWN}:53" in lan.netapply(*words).stdout
    for pid in inside("one"):
        kill(pid)
    assert "resolver in one is not as the manifest says (healthy)" in lan.netapply(*words).stdout
    assert ask("one", OWN, "two", within=0.3) == Answer("")


def test_destroy_leaves_nothing(lan: Machine) -> None:
    before = lan.snapshot()
    apply(lan, LAN)
    pids = [pid for name in ("one", "two", "three") for pid in inside(name)]
    assert len(pids) == 3
    lan.netapply("destroy", "-", stdin=LAN)
    assert not any(map(runs, pids))
    assert (files(), [*Path("/run/netapply").glob("dns-*")]) == ([], [])
    assert lan.snapshot().splitlines() == before.splitlines()


def test_a_name_is_there_at_once_and_goes_at_once(lan: Machine) -> None:
    apply(lan, LAN)
    before = inside("one")
    apply(lan, LAN + "  four: {networks: {lan: {ipv4_address: 10.23.0.40}}}\n")
    assert ask("one", OWN, "four").values == ("10.23.0.40",)
    assert ask("four", OWN, "one").values == ("10.23.0.10",)
    apply(lan, LAN)
    assert ask("one", OWN, "four") == NXDOMAIN
    assert inside("one") == before


# --- containers that end, start and share


IN_A_PROCESS = """
version: 1
project: shop
dns: true
networks:
  lan:
    driver: macvlan
    driver_opts: {parent: eth0}
    ipam: {config: [{subnet: 10.23.0.0/24}]}
  apart: {driver_opts: {gateway_mode: isolated}, ipam: {config: [{subnet: 10.25.0.0/24}]}}
containers:
  web: {networks: {lan: {ipv4_address: 10.23.0.10}, apart: {ipv4_address: 10.25.0.10}}}
  app: {sandbox: {pid: PID}, networks: {lan: {ipv4_address: 10.23.0.20}, apart: {ipv4_address: 10.25.0.20}}}
"""


SIDE = "  side: {driver_opts: {gateway_mode: isolated}, ipam: {config: [{subnet: 10.26.0.0/24}]}}\n"


def process(host: Machine) -> tuple[int, str]:
    """A container's process, and a manifest with it."""
    pid, _ = in_a_process(host, "true")
    return pid, IN_A_PROCESS.replace("PID", str(pid))


def end(host: Machine, pid: int) -> None:
    """End a container's process, which is gone once this returns."""
    (child,) = [one for one in host.processes if one.pid == pid]
    child.kill()
    child.wait(10)


def all_resolvers() -> set[int]:
    """All processes that were started as our resolvers are, wherever they are."""
    found: set[int] = set()
    here = os.readlink("/proc/thread-self/ns/mnt")
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if b"/dnsmasq\0--conf-file=/run/netapply/" in b"/" + words and os.readlink(entry / "ns/mnt") == here:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def links(host: Machine) -> set[str]:
    return set(host.run("ip -o link").stdout.replace("@", " ").split()) & {"shop-apart"} | {
        line.split()[1].partition("@")[0] for line in host.run("ip -o link show type veth").stdout.splitlines()
    }


def test_a_container_that_starts_anew_takes_its_resolver_along(lan: Machine) -> None:
    first, manifest = process(lan)
    apply(lan, manifest)
    assert ask(f"/proc/{first}/ns/net", OWN, "web").values
    (old,) = inside(f"/proc/{first}/ns/net")
    end(lan, first)
    assert runs(old)  # the namespace lives by it alone
    second, manifest = process(lan)
    apply(lan, manifest)
    assert not runs(old)
    assert set(ask(f"/proc/{second}/ns/net", OWN, "web").values) == {"10.23.0.10", "10.25.0.10"}
    assert len(all_resolvers()) == 2
    lan.netapply("destroy", "--project", "shop")
    assert all_resolvers() == set()


@pytest.mark.parametrize("option", [[], ["--no-prune"]])
def test_a_container_that_ends_leaves_no_resolver_and_no_link_behind(lan: Machine, option: list[str]) -> None:
    pid, manifest = process(lan)
    before = links(lan)
    apply(lan, manifest)
    more = links(lan) - before
    end(lan, pid)
    lan.netapply("-", *option, stdin=manifest)
    assert len(all_resolvers()) == 1
    lan.netapply("-", *option, stdin=manifest)
    assert "nothing to do" in lan.netapply("-", *option, stdin=manifest).stdout
    assert len(links(lan) & more) == 2  # web's, and the bridge


def test_destroying_the_project_of_a_container_that_has_ended_leaves_nothing(lan: Machine) -> None:
    pid, manifest = process(lan)
    before = lan.snapshot()
    apply(lan, manifest)
    end(lan, pid)
    lan.netapply("destroy", "--project", "shop")
    assert (all_resolvers(), files()) == (set(), [])
    assert lan.snapshot().splitlines() == before.splitlines()


def test_containers_that_share_a_namespace_share_one(lan: Machine) -> None:
    pid, manifest = process(lan)
    second = lan.start(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-c", "echo in there; exec sleep 600"])
    assert second.stdout
    assert second.stdout.readline() == "in there\n"
    manifest = (
        manifest.replace("networks:\n", "networks:\n" + SIDE, 1)
        + f"""
  beside: {{sandbox: {{pid: {second.pid}}}, networks: {{side: {{ipv4_address: 10.26.0.20}}}}}}
  other: {{networks: {{side: {{ipv4_address: 10.26.0.21}}}}}}
"""
    )
    apply(lan, manifest)
    where = f"/proc/{pid}/ns/net"
    assert len(inside(where)) == 1
    assert set(ask(where, OWN, "web").values) == {"10.23.0.10", "10.25.0.10"}
    assert ask(where, OWN, "other").values == ("10.26.0.21",)
    assert ask("other", OWN, "web") == NXDOMAIN
    apply(lan, manifest.partition("  beside:")[0])
    assert len(inside(where)) == 1
    assert ask(where, OWN, "other") == NXDOMAIN
    lan.netapply("destroy", "--project", "shop")
    assert all_resolvers() == set()


# --- who is asked for the rest


SERVER, SERVER6 = "10.23.0.2", "fd00:23::2"


def hosts_own(host: Machine, *servers: str) -> None:
    """Have the host's resolv.conf name these."""
    Path("/run/hosts-own.conf").write_text("".join(f"nameserver {one}\n" for one in servers))
    host.run("mount --bind /run/hosts-own.conf /etc/resolv.conf")


def test_what_no_container_is_called_the_hosts_servers_are_asked_but_no_loopback_address(lan: Machine) -> None:
    hosts_own(lan, "127.0.0.1", SERVER, "::1", "fe80::1%eth0")
    with Upstream(lan, "lan", SERVER) as server:
        apply(lan, LAN)
        for tcp in (False, True):
            assert ask("one", OWN, "nobody", tcp=tcp) == NXDOMAIN
            assert ask("one", OWN, "two.lan", tcp=tcp).values == ("10.23.0.11",)
        assert ask("one", OWN, "www.example.com").values == ("192.0.2.99",)
        assert server.asked == ["www.example.com"]
    (conf,) = inside("one").values()
    assert [line for line in Path(conf).read_text().splitlines() if line.startswith("server=")] == [f"server={SERVER}"]


def test_of_systemds_stub_the_servers_behind_it_are_asked(lan: Machine) -> None:
    hosts_own(lan, "127.0.0.53")
    Path("/run/systemd/resolve").mkdir(parents=True)
    Path("/run/systemd/resolve/resolv.conf").write_text(f"nameserver {SERVER}\n")
    with Upstream(lan, "lan", SERVER):
        apply(lan, LAN)
        assert ask("one", OWN, "www.example.com").values == ("192.0.2.99",)
    Path("/run/systemd/resolve/resolv.conf").write_text("nameserver 192.0.2.53\n")
    assert f"asks {SERVER} → 192.0.2.53" in lan.netapply("plan", "-", stdin=LAN).stdout
    apply(lan, LAN)


def test_a_containers_own_servers_come_first(lan: Machine) -> None:
    hosts_own(lan, "192.0.2.53")
    with Upstream(lan, "lan", SERVER, "192.0.2.77"):
        apply(lan, LAN.replace("  one: {", f"  one: {{dns: {SERVER}, "))
        assert ask("one", OWN, "www.example.com").values == ("192.0.2.77",)
        assert ask("one", OWN, "two").values == ("10.23.0.11",)


def test_where_the_host_asks_itself_only_that_is_told(lan: Machine) -> None:
    hosts_own(lan, "127.0.0.1")
    told = lan.netapply("-", stdin=LAN.replace("  side:\n", "  side:\n    no_default_route: true\n")).stdout
    assert "no names but those of containers are found from one, two: " in told
    assert ask("one", OWN, "www.example.com").code == "REFUSED"
    assert ask("one", OWN, "two").values == ("10.23.0.11",)


def test_from_internal_networks_nobody_is_asked(lan: Machine) -> None:
    hosts_own(lan, SERVER)
    with Upstream(lan, "lan", SERVER) as server:
        apply(lan, LAN.replace("  lan:\n", "  lan:\n    internal: true\n"))
        assert ask("one", OWN, "www.example.com").code == "REFUSED"
        assert ask("one", OWN, "two").values == ("10.23.0.11",)
        assert server.asked == []


# --- what else is in the container


@pytest.mark.parametrize("how", ["by its resolv.conf", "by its socket"])
def test_never_where_docker_has_put_its_own_resolver(lan: Machine, how: str) -> None:
    docker = Path(f"/run/docker/{'0e' * 32}/resolv.conf")
    docker.parent.mkdir(parents=True)
    docker.write_text("nameserver 127.0.0.11\noptions ndots:0\n" if "conf" in how else "nameserver 192.0.2.1\n")
    pid, _ = in_a_process(lan, f"mount --bind {docker} /etc/resolv.conf")
    manifest = IN_A_PROCESS.replace("PID", str(pid))
    where = f"/proc/{pid}/ns/net"
    if how == "by its socket":
        lan.run(f"nsenter --net={where} ip link set lo up")
        theirs = lan.start(["nsenter", f"--net={where}", "python3", "-c", LISTENING.format(OWN, 41234)])
        assert theirs.stdout
        assert theirs.stdout.readline() == "listening\n"
    before = docker.read_text()
    told = lan.netapply("-", stdin=manifest).stdout
    assert "no names are found from app: Docker's own resolver is in there" in told
    assert inside(where) == {}
    assert docker.read_text() == before
    assert len(inside("web")) == 1
    assert set(ask("web", OWN, "app").values) == {"10.23.0.20", "10.25.0.20"}
    assert "nothing to do" in lan.netapply("-", stdin=manifest).stdout


LISTENING = """
import socket, time
handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
handle.bind(("{}", {}))
print("listening", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("address", ["0.0.0.0", OWN])
def test_a_container_that_serves_names_itself_is_a_conflict_with_a_mend(lan: Machine, address: str) -> None:
    pid, manifest = process(lan)
    where = f"/proc/{pid}/ns/net"
    lan.run(f"nsenter --net={where} ip link set lo up")
    theirs = lan.start(["nsenter", f"--net={where}", "python3", "-c", LISTENING.format(address, 53)])
    assert theirs.stdout
    assert theirs.stdout.readline() == "listening\n"
    refused = lan.netapply("-", stdin=manifest, code=3).stderr
    assert (
        f"the address of the resolver in app is taken: python3 (process {theirs.pid}) listens at {address}" in refused
    )
    assert "`dns: false`" in refused
    assert all_resolvers() == set()
    apply(lan, manifest.replace("  app: {", "  app: {dns: false, "))
    assert inside(where) == {}
    assert set(ask("web", OWN, "app").values) == {"10.23.0.20", "10.25.0.20"}
    end(lan, theirs.pid)
    apply(lan, manifest)
    assert len(inside(where)) == 1


def test_another_projects_resolver_in_there_is_a_conflict_that_names_the_project(lan: Machine) -> None:
    _, manifest = process(lan)
    apply(lan, manifest)
    other = manifest.replace("project: shop", "project: other").replace("10.2", "10.3")
    other = other.replace("  web: {", "  web-2: {").replace("apart", "aside")
    other = other.replace("driver: macvlan\n", "driver: macvlan\n    no_default_route: true\n")
    refused = lan.netapply("-", stdin=other, code=3).stderr
    assert "listens at 127.0.0.11 port 53 there, for project shop; write `dns: false`" in refused
    apply(lan, other.replace("  app: {", "  app: {dns: false, "))
    assert "nothing to do" in lan.netapply("-", stdin=manifest).stdout
    lan.netapply("destroy", "-", stdin=other)
    assert len(all_resolvers()) == 2


def test_a_runtimes_resolv_conf_names_it_and_is_put_back(lan: Machine) -> None:
    original = "nameserver 192.0.2.53\n"
    theirs = Path("/run/containers", "0f" * 32, "resolv.conf")
    theirs.parent.mkdir(parents=True)
    theirs.write_text(original)
    pid, _ = in_a_process(lan, f"mount --bind {theirs} /etc/resolv.conf")
    manifest = IN_A_PROCESS.replace("PID", str(pid))
    apply(lan, manifest)
    assert theirs.read_text().splitlines()[1:] == [f"nameserver {OWN}", "#< nameserver 192.0.2.53"]
    found = lan.run(f"nsenter --target {pid} --mount --net getent ahostsv4 web").stdout.split()[0]
    assert found in ("10.23.0.10", "10.25.0.10")
    lan.netapply("destroy", "--project", "shop")
    assert theirs.read_text() == original


def test_where_the_host_is_on_one_of_its_networks_the_resolver_there_knows_the_names_of_all(lan: Machine) -> None:
    manifest = LAN + "  both: {networks: {front: {ipv4_address: 10.20.0.10}, lan: {ipv4_address: 10.23.0.30}}}\n"
    manifest = manifest.replace("networks:\n", "networks:\n  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}\n", 1)
    apply(lan, manifest)
    assert inside("both") == {}
    assert ask("both", "10.20.0.1", "one").values == ("10.23.0.10",)
    assert ask("one", OWN, "both").values == ("10.23.0.30",)
    assert Path("/etc/netns/both/resolv.conf").read_text().splitlines()[1:] == ["nameserver 10.20.0.1"]
    apply(lan, manifest.replace("{front: {ipv4_address: 10.20.0.10}, lan", "{lan"))  # it leaves the bridge
    assert ask("both", OWN, "one").values == ("10.23.0.10",)
    apply(lan, manifest)
    assert inside("both") == {}


def test_it_goes_where_the_host_gets_an_address_on_the_network(lan: Machine) -> None:
    apply(lan, LAN)
    near = LAN.replace("driver_opts: {parent: eth0}", "driver_opts: {parent: eth0, host_access: 10.23.0.250}", 1)
    apply(lan, near)
    assert (inside("one"), inside("two")) == ({}, {})
    assert len(inside("three")) == 1
    assert ask("one", "10.23.0.250", "two").values == ("10.23.0.11",)
    apply(lan, LAN)
    assert ask("one", OWN, "two").values == ("10.23.0.11",)


def test_names_can_be_switched_off_again(lan: Machine) -> None:
    apply(lan, LAN)
    apply(lan, LAN.replace("dns: true", "dns: false").replace('dns: {search: shop.example, options: ["ndots:2"]}', ""))
    assert (all_resolvers(), files()) == (set(), [])


def test_a_namespace_whose_name_somebody_takes_away_is_made_anew_and_nothing_stays_in_the_old_one(lan: Machine) -> None:
    apply(lan, LAN)
    (old,) = inside("one")
    lan.run("ip netns del one")
    assert runs(old)
    apply(lan, LAN)
    assert not runs(old)
    assert len(all_resolvers()) == 3
    assert ask("one", OWN, "two").values == ("10.23.0.11",)
    assert ask("two", OWN, "one").values == ("10.23.0.10",)


def test_with_files_and_all_else_lost_the_processes_are_found_by_themselves(lan: Machine) -> None:
    apply(lan, LAN)
    lan.run(["sh", "-c", "rm -r /run/netapply /etc/netns/*"])
    lan.netapply("destroy", "--project", "shop")
    assert all_resolvers() == set()


def test_a_resolver_that_runs_twice_is_ended_and_started_once(lan: Machine) -> None:
    apply(lan, LAN)
    (conf,) = inside("one").values()
    as_made = Path(conf).read_text()
    Path(conf).write_text(as_made.replace("127.0.0.11", "127.0.0.12"))
    lan.run(f"nsenter --net=/run/netns/two /usr/sbin/dnsmasq --conf-file={conf}")
    Path(conf).write_text(as_made)
    assert len(all_resolvers()) == 4
    assert "started anew: it runs 2 times" in lan.netapply("plan", "-", stdin=LAN).stdout
    apply(lan, LAN)
    assert (len(inside("one")), len(inside("two"))) == (1, 1)


def test_a_container_that_leaves_without_pruning_loses_its_resolver_and_stays_attached(lan: Machine) -> None:
    apply(lan, LAN)
    less = LAN.partition("  three:")[0]
    lan.netapply("-", "--no-prune", stdin=less)
    assert "nothing to do" in lan.netapply("-", "--no-prune", stdin=less).stdout
    assert inside("three") == {}
    assert "eth0" in lan.run("ip -br link", netns="three").stdout
    apply(lan, less)
    assert not Path("/run/netns/three").exists()


def test_a_process_of_a_containers_own_that_looks_like_one_is_none(lan: Machine) -> None:
    """It has the command line of one, and is in a PID namespace of its own, as processes of containers are."""
    apply(lan, LAN)
    (conf,) = inside("one").values()
    words = f"ip link set lo up; /usr/sbin/dnsmasq --conf-file={conf}; echo started; sleep 600"
    theirs = lan.start(["unshare", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", words])
    assert theirs.stdout
    assert theirs.stdout.readline() == "started\n"
    assert len(all_resolvers()) == 4
    assert "nothing to do" in lan.netapply("-", stdin=LAN).stdout
    lan.netapply("destroy", "-", stdin=LAN)
    assert len(all_resolvers()) == 1


# --- other networks


def test_where_there_is_ipv6_only_names_are_found_at_the_same_address(lan: Machine) -> None:
    only = """
project: shop
dns: true
networks:
  lan: {driver: macvlan, driver_opts: {parent: eth0}, enable_ipv4: false, ipam: {config: [{subnet: "fd00:23::/64"}]}}
containers:
  one: {networks: {lan: {ipv6_address: "fd00:23::10"}}}
  two: {networks: {lan: {ipv6_address: "fd00:23::11"}}}
"""
    apply(lan, only)
    for tcp in (False, True):
        assert ask("one", OWN, "two", "AAAA", tcp=tcp).values == ("fd00:23::11",)
        assert ask("one", OWN, "two", tcp=tcp) == Answer("NOERROR")
    assert lan.run("ip netns exec one getent hosts two").stdout.split()[0] == "fd00:23::11"


def test_on_a_bridge_of_somebody_elses_and_on_one_without_the_gateway_too(host: Machine, bridge_nf: bool) -> None:
    host.run("ip link add br0 type bridge")
    host.run("ip link set br0 up")
    apply(
        host,
        """
project: shop
dns: true
networks:
  theirs: {external: true, driver_opts: {name: br0}, ipam: {config: [{subnet: 10.27.0.0/24}]}}
  moved: {driver_opts: {inhibit_gateway: true}, ipam: {config: [{subnet: 10.28.0.0/24}]}}
containers:
  one: {networks: {theirs: {ipv4_address: 10.27.0.10}}}
  two: {networks: {theirs: {ipv4_address: 10.27.0.11}, moved: {ipv4_address: 10.28.0.11}}}
  three: {networks: {moved: {ipv4_address: 10.28.0.12}}}
""",
    )
    for tcp in (False, True):
        assert ask("one", OWN, "two", tcp=tcp).values == ("10.27.0.11",)
        assert ask("three", OWN, "two", tcp=tcp).values == ("10.28.0.11",)
        assert ask("two", OWN, "three", tcp=tcp).values == ("10.28.0.12",)
        assert ask("one", OWN, "three", tcp=tcp) == NXDOMAIN


def test_the_name_of_a_service_leads_to_its_virtual_ip(lan: Machine) -> None:
    manifest = (
        LAN
        + """
services:
  pair: {network: lan, containers: [two], vip: 10.23.0.200, ports: [80]}
  both: {network: lan, containers: [one, two], endpoint_mode: dnsrr}
"""
    )
    apply(lan, manifest)
    assert ask("one", OWN, "pair").values == ("10.23.0.200",)
    assert set(ask("one", OWN, "both").values) == {"10.23.0.10", "10.23.0.11"}
    assert ask("three", OWN, "pair") == NXDOMAIN
    assert lan.tcp("one", "two", "10.23.0.200", port=80) == "10.23.0.10"

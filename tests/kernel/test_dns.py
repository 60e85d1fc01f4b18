"""Containers find each other by name: a real dnsmasq, and questions from within sandboxes."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.host.dns import processes
from tests.dns import Answer, Upstream, ask
from tests.machine import Machine

MANIFEST = """
version: 1
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  back: {ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10", aliases: [www, shop.example]}}}
  web-2: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11", aliases: [www]}}}
  api: {networks: {front: {ipv4_address: 10.20.0.20, ipv6_address: "fd00:20::20"}, back: {ipv4_address: 10.21.0.20}}}
  db: {networks: {back: {ipv4_address: 10.21.0.30, aliases: [store]}}}
"""

FRONT, FRONT6, BACK = "10.20.0.1", "fd00:20::1", "10.21.0.1"
NXDOMAIN, NODATA = Answer("NXDOMAIN"), Answer("NOERROR")


def resolvers() -> dict[int, str]:
    """The resolvers in this network namespace: PIDs, and the files that they were started with."""
    here = os.readlink("/proc/thread-self/ns/net")
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if len(words) > 1 and words[0].endswith(b"dnsmasq") and os.readlink(entry / "ns/net") == here:
                found[int(entry.name)] = words[1].decode().partition("=")[2]
        except OSError:
            continue
    return found


def files() -> list[str]:
    """What there is below /run/netapply and /etc/netns of names."""
    found = [*Path("/run/netapply").glob("dns-*/**/*"), *Path("/etc/netns").glob("**/*")]
    return sorted(str(path) for path in found if path.is_file())


def apply(host: Machine, manifest: str = MANIFEST) -> None:
    """Apply a manifest, and once more to no effect."""
    host.netapply("-", stdin=manifest)
    assert "nothing to do" in host.netapply("-", stdin=manifest).stdout


@pytest.fixture
def shop(host: Machine) -> Machine:
    apply(host)
    return host


def test_names_aliases_and_names_with_their_network_are_found(shop: Machine, bridge_nf: bool) -> None:
    for tcp in (False, True):
        for server in (FRONT, FRONT6):
            assert ask("web", server, "api", tcp=tcp).values == ("10.20.0.20",)
            assert ask("web", server, "api", "AAAA", tcp=tcp).values == ("fd00:20::20",)
            assert ask("web", server, "api.front", tcp=tcp).values == ("10.20.0.20",)
            assert ask("api", server, "shop.example", tcp=tcp).values == ("10.20.0.10",)
        assert ask("db", BACK, "store.back", tcp=tcp).values == ("10.21.0.30",)


def test_a_name_of_two_containers_has_both_addresses_in_turn(shop: Machine) -> None:
    answers = {ask("api", FRONT, "www").values for _ in range(4)}
    assert answers == {("10.20.0.10", "10.20.0.11"), ("10.20.0.11", "10.20.0.10")}


def test_answers_may_be_kept_for_a_second(shop: Machine) -> None:
    assert ask("web", FRONT, "api").ttl == 1


def test_a_container_finds_the_names_of_its_networks_and_no_others_whomever_it_asks(
    shop: Machine, bridge_nf: bool
) -> None:
    for server in (FRONT, BACK):
        assert ask("web", server, "db") == NXDOMAIN
        assert ask("web", server, "api").values == ("10.20.0.20",)
        assert ask("web", server, "api.back") == NXDOMAIN
        assert ask("db", server, "web") == NXDOMAIN
        assert ask("db", server, "api").values == ("10.21.0.20",)
        assert ask("api", server, "web").values == ("10.20.0.10",)
        assert ask("api", server, "db").values == ("10.21.0.30",)
        assert set(ask("api", server, "api").values) == {"10.20.0.20", "10.21.0.20"}


def test_nobody_gets_at_the_resolver_of_others_by_its_own_port(shop: Machine, bridge_nf: bool) -> None:
    ports = {listening.rpartition(":")[2] for listening in host_sockets(shop) if listening.startswith(FRONT)}
    assert len(ports) == 2
    for port in map(int, ports):
        for tcp in (False, True):
            for server in (FRONT, FRONT6):
                assert ask("web", server, "api", port=port, tcp=tcp, within=0.3) == Answer("")


def host_sockets(host: Machine) -> list[str]:
    return [line.split()[3] for line in host.run("ss -Hlnu").stdout.splitlines()]


def test_resolvers_listen_at_the_networks_only_and_have_no_rights(shop: Machine) -> None:
    addresses = {listening.rpartition(":")[0] for listening in host_sockets(shop)}
    assert addresses == {FRONT, BACK, f"[{FRONT6}]"}
    assert len(resolvers()) == 3  # of front, of back, and of both
    for pid in resolvers():
        status = Path(f"/proc/{pid}/status").read_text()
        assert "\nCapEff:\t0000000000000000\n" in status
        assert "\nUid:\t0\t" not in status


def test_a_missing_family_and_a_missing_name_are_told_apart(shop: Machine) -> None:
    assert ask("db", BACK, "db", "AAAA") == NODATA
    assert ask("api", FRONT, "shop.example", "AAAA").values == ("fd00:20::10",)
    assert ask("web", FRONT, "web", "MX") == NODATA
    assert ask("web", FRONT, "nobody") == NXDOMAIN
    assert ask("web", FRONT, "nobody.front") == NXDOMAIN


def test_an_address_leads_back_to_its_container(shop: Machine) -> None:
    assert ask("web", FRONT, "20.0.20.10.in-addr.arpa", "PTR").values == ("api",)
    six = ".".join(reversed("fd000020" + "0" * 20 + "0020")) + ".ip6.arpa"
    assert ask("web", FRONT6, six, "PTR").values == ("api",)
    assert ask("web", FRONT, "99.0.20.10.in-addr.arpa", "PTR") == NXDOMAIN


@pytest.fixture
def upstream(host: Machine) -> Iterator[Upstream]:
    """Whom the host asks: a server outside."""
    outside = host.outside()
    Path("/run/resolv.conf").write_text(f"nameserver {outside.ipv4}\n")
    host.run("mount --bind /run/resolv.conf /etc/resolv.conf")
    with Upstream(host, outside.name, outside.ipv4) as server:
        yield server


def test_what_no_container_is_called_the_hosts_own_server_is_asked(upstream: Upstream, bridge_nf: bool) -> None:
    apply(upstream.machine)
    assert ask("web", FRONT, "www.example.com").values == ("192.0.2.99",)
    assert ask("db", BACK, "other.example.com").values == ("192.0.2.99",)
    for name in ("nobody", "nobody.front", "web.back", "api.back"):
        assert ask("web", FRONT, name) == NXDOMAIN
    assert ask("web", FRONT, "99.0.20.10.in-addr.arpa", "PTR") == NXDOMAIN
    assert ask("db", BACK, "db", "AAAA") == NODATA
    assert upstream.asked == ["www.example.com", "other.example.com"]


def test_a_container_on_internal_networks_only_gets_no_answers_from_outside(upstream: Upstream) -> None:
    apply(upstream.machine, MANIFEST.replace("back: {ipam", "back: {internal: true, ipam"))
    assert ask("db", BACK, "www.example.com").code == "REFUSED"
    assert ask("db", BACK, "api").values == ("10.21.0.20",)
    assert upstream.asked == []
    assert ask("api", BACK, "www.example.com").values == ("192.0.2.99",)  # it is on front, too


def test_a_containers_own_servers_are_asked_and_names_go_on_working(upstream: Upstream) -> None:
    outside = upstream.machine.outside("other", "second", default_route=False)
    with Upstream(upstream.machine, "other", outside.ipv4, "192.0.2.77") as own:
        apply(upstream.machine, MANIFEST.replace("  db: {", f"  db: {{dns: {outside.ipv4}, "))
        assert ask("db", BACK, "www.example.com").values == ("192.0.2.77",)
        assert ask("db", BACK, "api").values == ("10.21.0.20",)
        assert ask("api", BACK, "www.example.com").values == ("192.0.2.99",)
        assert (own.asked, upstream.asked) == (["www.example.com"], ["www.example.com"])


def test_resolv_conf_is_where_ip_netns_exec_finds_it(host: Machine) -> None:
    dns = "dns: {search: [shop.example, example], options: ['ndots:2', edns0]}, "
    apply(host, MANIFEST.replace("  db: {", f"  db: {{{dns}"))
    lines = host.run("ip netns exec db cat /etc/resolv.conf").stdout.splitlines()
    assert lines[1:] == [f"nameserver {BACK}", "search shop.example example", "options ndots:2 edns0"]
    assert Path("/etc/netns/api/resolv.conf").read_text().splitlines()[1:] == [
        f"nameserver {FRONT}",
        f"nameserver {FRONT6}",
    ]
    assert host.run("ip netns exec web getent ahostsv4 api").stdout.startswith("10.20.0.20")


BUSY = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
signal.signal(signal.SIGHUP, lambda *_: None)
print("busy", flush=True)
input()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
input()
"""


def test_who_has_names_read_goes_on_once_the_resolver_has_taken_notice() -> None:
    """dnsmasq answers what comes while the signal waits for it to run from what it knew before."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=pipe, stdout=pipe, text=True) as busy:
        assert busy.stdin
        assert busy.stdout
        assert busy.stdout.readline() == "busy\n"
        busy.send_signal(signal.SIGHUP)
        waiting = threading.Thread(target=processes.until_reloaded, args=[[busy.pid]])
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        busy.stdin.write("\n")
        busy.stdin.flush()
        waiting.join(30)
        assert not waiting.is_alive()
        busy.kill()


def test_a_name_is_there_at_once_and_goes_at_once(shop: Machine) -> None:
    before = resolvers()
    more = MANIFEST + "  cache: {networks: {front: {ipv4_address: 10.20.0.40}}}\n"
    apply(shop, more)
    assert ask("web", FRONT, "cache").values == ("10.20.0.40",)
    assert ask("cache", FRONT, "web").values == ("10.20.0.10",)
    apply(shop)
    assert ask("web", FRONT, "cache") == NXDOMAIN
    assert resolvers() == before


def test_a_container_that_joins_a_network_finds_its_names(shop: Machine) -> None:
    apply(shop, MANIFEST.replace("db: {networks: {back:", "db: {networks: {front: {}, back:"))
    assert ask("db", BACK, "web").values == ("10.20.0.10",)
    assert len(resolvers()) == 2


def kill(pid: int) -> None:
    """Kill a resolver, which is no child of ours, and see it end: on a busy machine that takes a while."""
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    assert select.select([handle], [], [], 30)[0]
    os.close(handle)


def test_a_killed_resolver_is_drift_and_is_mended(shop: Machine) -> None:
    kill(next(iter(resolvers())))
    planned = shop.netapply("plan", "-", stdin=MANIFEST).stdout
    assert "started anew: it does not run" in planned
    apply(shop)
    assert len(resolvers()) == 3
    assert ask("web", FRONT, "api").values == ("10.20.0.20",)
    assert ask("db", BACK, "api").values == ("10.21.0.20",)


def test_edited_files_are_drift_and_are_mended(shop: Machine) -> None:
    as_made = {path: Path(path).read_text() for path in files()}
    names = next(Path("/run/netapply").glob("dns-*/shop/names/front"))
    names.write_text("10.20.0.66 api\n")
    for conf in set(resolvers().values()):
        with open(conf, "a") as file:
            file.write("address=/evil.example/10.20.0.66\n")
    Path("/etc/netns/web/resolv.conf").write_text(as_made["/etc/netns/web/resolv.conf"].replace(FRONT, "192.0.2.53"))
    apply(shop)
    assert {path: Path(path).read_text() for path in files()} == as_made
    assert ask("web", FRONT, "api").values == ("10.20.0.20",)


def test_lost_files_are_drift_and_the_processes_are_found_all_the_same(shop: Machine) -> None:
    as_made = files()
    before = resolvers()
    shop.run(["sh", "-c", "rm -r /run/netapply/dns-*"])
    apply(shop)
    assert files() == as_made
    assert len(resolvers()) == 3
    assert not resolvers().keys() & before.keys()
    shop.run(["sh", "-c", "rm -r /run/netapply/dns-*"])
    shop.netapply("destroy", "-", stdin=MANIFEST)
    assert resolvers() == {}


def test_with_files_and_firewall_lost_the_processes_are_found_all_the_same(shop: Machine) -> None:
    shop.run(["sh", "-c", "nft flush ruleset && rm -r /run/netapply"])
    shop.netapply("destroy", "--project", "shop")
    assert resolvers() == {}


def test_foreign_dnsmasqs_are_nobodys_to_touch(host: Machine) -> None:
    """One on all addresses, port 53; one whose command line begins as ours do; one in another namespace, as ours."""
    Path("/run/foreign.conf").write_text("port=53\nno-resolv\npid-file=\nuser=root\naddress=/foreign/192.0.2.1\n")
    host.run("dnsmasq --conf-file=/run/foreign.conf")
    foreign = set(resolvers())
    apply(host)
    own = resolvers()
    conf = next(one for one in own.values() if "netapply" in one)
    as_made = Path(conf).read_text()
    Path(conf).write_text(re.sub("(?m)^port=.*", "port=5454", as_made))  # so that both can listen
    host.run(f"dnsmasq --conf-file={conf} --log-queries")
    Path(conf).write_text(as_made)
    foreign |= resolvers().keys() - own
    host.netns("elsewhere")
    addresses = "".join(f"ip addr add {address} dev lo; " for address in (FRONT, BACK, f"{FRONT6}/128"))
    host.run(["ip", "netns", "exec", "elsewhere", "sh", "-c", f"{addresses} exec dnsmasq --conf-file={conf}"])
    elsewhere = {int(pid) for pid in host.run("ip netns pids elsewhere").stdout.split()}
    assert len(foreign) == 2
    assert len(elsewhere) == 1
    assert ask("web", FRONT, "api").values == ("10.20.0.20",)
    assert ask("", "127.0.0.1", "foreign").values == ("192.0.2.1",)
    host.netapply("destroy", "-", stdin=MANIFEST)
    assert foreign == resolvers().keys()
    assert {int(pid) for pid in host.run("ip netns pids elsewhere").stdout.split()} == elsewhere
    assert ask("", "127.0.0.1", "foreign").values == ("192.0.2.1",)
    for pid in elsewhere:  # it is in a mount namespace of its own, and would outlive the test
        os.kill(pid, signal.SIGKILL)


def test_a_port_that_somebody_listens_on_is_passed_over(host: Machine) -> None:
    apply(host)
    port = int(next(one for one in host_sockets(host) if one.startswith(BACK)).rpartition(":")[2])
    host.netapply("destroy", "-", stdin=MANIFEST)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", port))
        apply(host)
        assert ask("db", BACK, "api").values == ("10.21.0.20",)
        assert ask("api", BACK, "db").values == ("10.21.0.30",)


def test_a_resolv_conf_of_somebody_elses_is_a_conflict_that_names_it(host: Machine) -> None:
    Path("/etc/netns/db").mkdir()
    theirs = Path("/etc/netns/db/resolv.conf")
    theirs.write_text("nameserver 192.0.2.53\n")
    refused = host.netapply("-", stdin=MANIFEST, code=3).stderr
    assert "the resolv.conf of container db is taken: /etc/netns/db/resolv.conf: netapply did not make it" in refused
    assert theirs.read_text() == "nameserver 192.0.2.53\n"
    assert resolvers() == {}
    apply(host, MANIFEST.replace("dns: true", "dns: false"))
    assert theirs.read_text() == "nameserver 192.0.2.53\n"


def test_destroy_leaves_nothing(host: Machine) -> None:
    before = host.snapshot()
    apply(host)
    host.netapply("destroy", "-", stdin=MANIFEST)
    assert (resolvers(), files(), [*Path("/etc/netns").iterdir()]) == ({}, [], [])
    assert [*Path("/run/netapply").glob("dns-*")] == []
    host.sysctl("net.ipv4.ip_forward", "0")
    host.sysctl("net.ipv6.conf.all.forwarding", "0")
    assert host.snapshot().splitlines() == before.splitlines()


def test_names_can_be_switched_off_again(shop: Machine) -> None:
    apply(shop, MANIFEST.replace("dns: true", "dns: false"))
    assert (resolvers(), files()) == ({}, [])
    assert "resolver" not in shop.run("nft list ruleset").stdout


def test_without_dnsmasq_nothing_is_touched_and_the_mend_is_told(host: Machine) -> None:
    before = host.snapshot()
    host.run("mount --bind /dev/null /usr/sbin/dnsmasq")
    failed = host.netapply("-", stdin=MANIFEST, code=69).stderr
    assert "dnsmasq-base" in failed
    assert host.snapshot() == before
    apply(host, MANIFEST.replace("dns: true", "dns: false"))


def test_the_host_has_names_on_a_macvlan_that_it_has_an_address_on(host: Machine) -> None:
    host.outside("lan", "eth0", default_route=False)
    apply(
        host,
        """
version: 1
project: shop
dns: true
networks:
  lan:
    driver: macvlan
    driver_opts: {parent: eth0, host_access: 10.23.0.250}
    ipam: {config: [{subnet: 10.23.0.0/24}]}
containers:
  one: {networks: {lan: {ipv4_address: 10.23.0.10}}}
  two: {networks: {lan: {ipv4_address: 10.23.0.11}}}
""",
    )
    assert ask("one", "10.23.0.250", "two").values == ("10.23.0.11",)
    assert "nameserver 10.23.0.250" in Path("/etc/netns/one/resolv.conf").read_text()


def test_two_projects_have_resolvers_of_their_own(shop: Machine) -> None:
    other = MANIFEST.replace("shop\n", "other\n").replace("10.2", "10.4").replace("fd00:20", "fd00:40")
    for name in ("web-2", "web", "api", "db"):
        other = other.replace(f"  {name}: {{", f"  o{name}: {{")
    apply(shop, other)
    assert "nothing to do" in shop.netapply("-", stdin=MANIFEST).stdout
    assert ask("oweb", "10.40.0.1", "oapi").values == ("10.40.0.20",)
    assert ask("oweb", FRONT, "web", within=0.5) != Answer("NOERROR", ("10.20.0.10",))
    shop.netapply("destroy", "-", stdin=other)
    assert ask("web", FRONT, "api").values == ("10.20.0.20",)


def test_status_tells_what_there_is(shop: Machine) -> None:
    told = json.loads(shop.netapply("status", "-", "--format", "json", stdin=MANIFEST).stdout)
    assert told
    text = shop.netapply("status", "-", stdin=MANIFEST).stdout
    pid = next(pid for pid in resolvers())
    assert f"pid {pid}" in text
    assert "names of front: 5" in text


IN_A_PROCESS = """
version: 1
project: shop
dns: true
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10}}}
  app: {sandbox: {pid: PID}, networks: {front: {ipv4_address: 10.20.0.20}}}
"""


DOCKERS = f"/run/docker/{'0e' * 32}/resolv.conf"


def in_a_process(host: Machine, prepare: str) -> tuple[int, str]:
    """Start a process with namespaces of its own, as a runtime does, and return its PID and a manifest with it."""
    script = f"{prepare} && echo ready && exec sleep 600"
    process = host.start(["unshare", "--net", "--mount", "sh", "-c", script])
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process.pid, IN_A_PROCESS.replace("PID", str(process.pid))


def test_a_resolv_conf_that_a_runtime_has_mounted_is_written_in_place_and_put_back(host: Machine) -> None:
    original = "# by the runtime\nnameserver 192.0.2.53\noptions edns0\n"
    theirs = Path("/run/containers", "0f" * 32, "resolv.conf")
    theirs.parent.mkdir(parents=True)
    theirs.write_text(original)
    pid, manifest = in_a_process(host, f"mount --bind {theirs} /etc/resolv.conf")
    inode, own = theirs.stat().st_ino, Path("/etc/resolv.conf").read_text()
    apply(host, manifest)
    lines = host.run(f"nsenter --target {pid} --mount --net cat /etc/resolv.conf").stdout.splitlines()
    assert lines[1:2] == [f"nameserver {FRONT}"]
    assert lines[2:] == ["#< # by the runtime", "#< nameserver 192.0.2.53", "#< options edns0"]
    assert host.run(f"nsenter --target {pid} --mount --net getent hosts web").stdout.split()[0] == "10.20.0.10"
    theirs.write_text(theirs.read_text().replace(FRONT, "192.0.2.66"))
    assert "192.0.2.66" in host.netapply("plan", "-", stdin=manifest).stdout
    apply(host, manifest)
    assert f"nameserver {FRONT}\n" in theirs.read_text()
    apply(host, manifest.partition("  app:")[0])  # it leaves the manifest
    assert theirs.read_text() == original
    apply(host, manifest)
    host.netapply("destroy", "--project", "shop")
    assert (theirs.read_text(), theirs.stat().st_ino) == (original, inode)
    assert Path("/etc/resolv.conf").read_text() == own


@pytest.mark.parametrize(
    "prepare",
    [
        "mount -t tmpfs tmpfs /etc && ln -s /run/victim /etc/resolv.conf",  # leads to a file of the host's
        "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /etc && echo search x > /etc/resolv.conf",  # its own image's
        "touch /run/victim && mount --bind /etc/resolv.conf /etc/resolv.conf",  # the host's own
        f"mount --bind {DOCKERS} /etc/resolv.conf",  # Docker's own resolver is there
        "mount --bind /run/victim /etc/resolv.conf",  # a user's
    ],
    ids=["a link", "no mount", "the host's", "Docker's own", "a user's"],
)
def test_no_other_resolv_conf_is_written(host: Machine, prepare: str) -> None:
    victim, docker, own = Path("/run/victim"), Path(DOCKERS), Path("/etc/resolv.conf").read_text()
    docker.parent.mkdir(parents=True)
    victim.write_text("mine\n")
    docker.write_text("nameserver 127.0.0.11\n")
    pid, manifest = in_a_process(host, prepare)
    before = host.run(f"nsenter --target {pid} --mount cat /etc/resolv.conf").stdout
    apply(host, manifest)
    assert host.run(f"nsenter --target {pid} --mount cat /etc/resolv.conf").stdout == before
    assert (victim.read_text(), docker.read_text()) == ("mine\n", "nameserver 127.0.0.11\n")
    assert Path("/etc/resolv.conf").read_text() == own
    assert ask(f"/proc/{pid}/ns/net", FRONT, "web").values == ("10.20.0.10",)


@pytest.mark.parametrize("works", [True, False])
def test_where_systemd_runs_the_host_a_resolver_has_a_scope_of_its_own(host: Machine, works: bool) -> None:
    """By a stand-in for systemd-run, which may fail: then the resolver is started all the same."""
    if not Path("/usr/bin/systemd-run").exists():
        pytest.skip("there is no systemd-run to be stood in for")
    stand_in = Path("/run/systemd-run")
    stand_in.write_text('#!/bin/sh\necho "$@" >> /run/asked\n[ -e /run/works ] || exit 1\n'
                        'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')  # fmt: skip
    stand_in.chmod(0o755)
    host.run("mount --bind /run/systemd-run /usr/bin/systemd-run")
    Path("/run/systemd/system").mkdir(parents=True)
    if works:
        Path("/run/works").touch()
    apply(host)
    asked = Path("/run/asked").read_text().splitlines()
    assert len(asked) == 3
    assert all(one.startswith("--quiet --scope --collect --slice=system.slice -- /usr/sbin/dnsmasq") for one in asked)
    assert len(resolvers()) == 3
    assert ask("web", FRONT, "api").values == ("10.20.0.20",)


def test_a_published_port_53_is_for_others_than_our_own(host: Machine, bridge_nf: bool) -> None:
    outside = host.outside()
    manifest = MANIFEST.replace("  web: {", '  web: {ports: ["53:53/udp"], ')
    apply(host, manifest)
    with Upstream(host, "web", "10.20.0.10", "192.0.2.88"):
        assert ask("outside", outside.host_ipv4, "anything.example").values == ("192.0.2.88",)
        assert ask("api", FRONT, "web").values == ("10.20.0.10",)
        assert ask("db", BACK, "api").values == ("10.21.0.20",)
        assert ask("api", "10.20.0.10", "anything.example").values == ("192.0.2.88",)


def test_names_that_were_lost_and_have_changed_meanwhile_are_read(shop: Machine) -> None:
    next(Path("/run/netapply").glob("dns-*/shop/names/front")).unlink()
    apply(shop, MANIFEST.replace("10.20.0.20", "10.20.0.21"))
    assert ask("web", FRONT, "api").values == ("10.20.0.21",)

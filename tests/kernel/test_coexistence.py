"""Beside firewalls of others: theirs stay as they are, what they drop is said with its mend, Docker's is opened."""

from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load

from ..machine import Machine, Outside
from .test_rollback import OPTIONS, Counting, raising

MANIFEST = """
project: shop
coexist: docker
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  back: {internal: true, ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}, back: {}}}
"""
PLAIN = MANIFEST.replace("coexist: docker\n", "")
BACKENDS = ["nft", "legacy"]


def docker(host: Machine, backend: str = "nft", programs: tuple[str, ...] = ("iptables", "ip6tables")) -> None:
    """Do what dockerd does to a firewall when it starts (moby, libnetwork/iptables): its chains are made anew."""
    for program in programs:
        run = f"{program}-{backend}"
        if host.run(f"{run} -S DOCKER-USER", check=False).returncode:
            host.run(f"{run} -N DOCKER-USER")
            host.run(f"{run} -A DOCKER-USER -j RETURN")
        host.run(f"{run} -D FORWARD -j DOCKER-USER", check=False)
        host.run(f"{run} -I FORWARD -j DOCKER-USER")
        host.run(f"{run} -P FORWARD DROP")


def firewall(host: Machine) -> str:
    """Return all that is in others' firewalls, as they say it."""
    found = json.loads(host.run("nft -j list ruleset").stdout)["nftables"]
    theirs = [
        one
        for one in found
        for part in one.values()
        if "netapply" not in json.dumps(part.get("table", part.get("name", "")))
    ]
    legacy = [host.run(f"{one}-legacy -S", check=False).stdout for one in ("iptables", "ip6tables")]
    return json.dumps(theirs, sort_keys=True) + "".join(legacy)


def rules(host: Machine, backend: str = "nft") -> str:
    """Return what is in iptables, as it prints it."""
    return "".join(host.run(f"{one}-{backend} -S").stdout for one in ("iptables", "ip6tables"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    return path


def mend_of(said: str) -> str:
    """Return the command that the first note ends in."""
    (line, *_) = [line for line in said.splitlines() if line.startswith("note: the firewall chain")]
    return line.partition("; ")[2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_docker_drops_what_nobody_accepts_and_the_word_for_it_is_named(
    host: Machine, outside: Outside, tmp_path: Path, backend: str
) -> None:
    docker(host, backend)
    before = firewall(host)
    path = write(tmp_path, PLAIN)
    for said in (host.netapply("plan", path).stdout, host.netapply(path).stdout, host.netapply(path).stdout):
        assert (
            "ip filter FORWARD (priority 0, policy drop) drops what is forwarded for shop-front; say `coexist: docker`"
            in said
        )
        assert "shop-back" not in "".join(line for line in said.splitlines() if line.startswith("note"))
    assert firewall(host) == before
    assert not host.ping("web", outside.ipv4, within=0.5)
    write(tmp_path, MANIFEST)
    said = host.netapply(path).stdout
    assert "note" not in said
    assert "+ firewall ip filter DOCKER-USER: -i shop-front -j ACCEPT, -o shop-front -j ACCEPT" in said
    assert host.ping("web", outside.ipv4)
    assert host.ping("web", outside.ipv6)
    assert "nothing to do" in host.netapply(path).stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_iptables_reads_what_netapply_wrote_and_all_of_it_goes_again(
    host: Machine, outside: Outside, tmp_path: Path, backend: str
) -> None:
    docker(host, backend)
    host.run(f"iptables-{backend} -I DOCKER-USER -s 192.0.2.66 -j DROP")
    before = firewall(host)
    path = write(tmp_path, MANIFEST)
    host.netapply(path)
    rules = host.run(f"iptables-{backend} -S DOCKER-USER").stdout
    for way in ("-i", "-o"):
        assert f'{way} shop-front -m comment --comment "netapply:shop" -j ACCEPT' in rules
    assert "192.0.2.66" in rules
    write(tmp_path, PLAIN)
    host.netapply(path)
    assert firewall(host) == before
    write(tmp_path, MANIFEST)
    host.netapply(path)
    host.netapply("destroy", "--project", "shop")
    assert firewall(host) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_restart_of_docker_and_edits_by_hand_are_drift(
    host: Machine, outside: Outside, tmp_path: Path, backend: str
) -> None:
    docker(host, backend)
    path = write(tmp_path, MANIFEST)
    host.netapply(path)
    good = rules(host, backend)
    for damage in (
        [f"iptables-{backend} -F DOCKER-USER", f"iptables-{backend} -A DOCKER-USER -j RETURN"],
        [f"iptables-{backend} -D DOCKER-USER 1"],
        [f"iptables-{backend} -I DOCKER-USER -i other0 -m comment --comment netapply:shop -j DROP"],
    ):
        for command in damage:
            host.run(command)
        host.netapply("plan", "--detailed-exitcode", path, code=2)
        host.netapply(path)
        assert rules(host, backend) == good
        assert host.ping("web", outside.ipv4)
    assert "nothing to do" in host.netapply(path).stdout


def test_a_flush_of_everything_is_mended_by_the_next_run(host: Machine, outside: Outside, tmp_path: Path) -> None:
    docker(host)
    path = write(tmp_path, MANIFEST)
    host.netapply(path)
    good = rules(host)
    host.run("nft flush ruleset")
    said = host.netapply(path).stdout
    assert "note: coexist: docker: there is no chain DOCKER-USER" in said
    assert host.ping("web", outside.ipv4)
    docker(host)
    said = host.netapply(path).stdout
    assert "note" not in said
    assert rules(host) == good
    assert host.ping("web", outside.ipv4)


def test_without_docker_the_word_means_nothing_and_changes_nothing(host: Machine, tmp_path: Path) -> None:
    path = write(tmp_path, MANIFEST)
    said = host.netapply(path).stdout
    assert said.count("note: coexist: docker: there is no chain DOCKER-USER") == 1
    assert "iptables" not in host.run("nft list ruleset").stdout
    assert "ip filter" not in host.run("nft list tables").stdout


def test_other_projects_keep_their_accepts(host: Machine, tmp_path: Path) -> None:
    docker(host)
    path = write(tmp_path, MANIFEST)
    other = tmp_path / "lab.yaml"
    other.write_text("project: lab\ncoexist: docker\nnetworks: {net: {}}\ncontainers: {probe: {networks: [net]}}\n")
    host.netapply(other)
    host.netapply(path)
    host.netapply("destroy", path)
    assert "nothing to do" in host.netapply(other).stdout
    assert "netapply:shop" not in host.run("iptables-nft -S DOCKER-USER").stdout


def test_rules_that_cant_be_read_are_not_taken_for_gone(host: Machine, tmp_path: Path) -> None:
    docker(host, "legacy")
    host.netapply(write(tmp_path, MANIFEST))
    with open("/run/xtables.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another iptables that takes its time
        failed = host.netapply("destroy", "--project", "shop", code=1).stderr
    assert "DOCKER-USER can't be read: Another app is currently holding the xtables lock" in failed
    assert "netapply:shop" in rules(host, "legacy")
    host.netapply("destroy", "--project", "shop")
    assert "netapply:shop" not in rules(host, "legacy")


def test_a_run_that_fails_anywhere_leaves_dockers_chain_as_it_was(host: Machine, tmp_path: Path) -> None:
    docker(host)
    manifest = load([str(write(tmp_path, MANIFEST))])
    for _ in range(2):  # that the host forwards now stays
        done: list[str] = []
        engine.converge(manifest, LinuxHost(trap=done.append), OPTIONS)
        engine.destroy("shop", LinuxHost())
    before = rules(host)
    opened = next(at for at, what in enumerate(done) if "DOCKER-USER" in what)  # once for each family
    for at in (0, opened - 1, opened, opened + 1, len(done) - 1):
        with pytest.raises(ApplyFailed):
            engine.converge(manifest, LinuxHost(trap=Counting(at, raising(errno.ENOBUFS))), OPTIONS)
        assert rules(host) == before, f"failed at {done[at]}"


THEIRS = {
    "iptables": ("ip", ["iptables-nft -P FORWARD DROP"]),
    "legacy": ("ip", ["iptables-legacy -P FORWARD DROP"]),
    "legacy, with a last word": ("ip", ["iptables-legacy -A FORWARD -j REJECT"]),
    "by hand, a chain called as iptables has it": (
        "ip",
        ["nft 'add table ip fw; add chain ip fw FORWARD { type filter hook forward priority 0; policy drop; }'"],
    ),
    "by hand, a table called as iptables has it": (
        "ip",
        [
            "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; }'",
            "nft 'add rule ip filter FORWARD ip saddr . ip daddr { 192.0.2.1 . 192.0.2.2 } accept'",
            "nft 'add rule ip filter FORWARD drop'",
        ],
    ),
    "by hand": (
        "both",
        ["nft 'add table inet fw; add chain inet fw pass { type filter hook forward priority 10; policy drop; }'"],
    ),
    "by hand, with a last word": (
        "both",
        [
            "nft 'add table inet fw; add chain inet fw pass { type filter hook forward priority 10; }'",
            "nft 'add rule inet fw pass ct state established accept; add rule inet fw pass counter reject'",
        ],
    ),
}


@pytest.mark.parametrize(("families", "commands"), THEIRS.values(), ids=THEIRS.keys())
def test_the_mend_works_as_it_is_printed(
    host: Machine, outside: Outside, tmp_path: Path, families: str, commands: list[str]
) -> None:
    for command in commands:
        host.run(["sh", "-c", command])
    path = write(tmp_path, PLAIN)
    before = firewall(host)
    said = host.netapply(path).stdout
    assert firewall(host) == before
    assert not host.ping("web", outside.ipv4, within=0.5)
    host.run(["sh", "-c", mend_of(said)])
    assert host.ping("web", outside.ipv4)
    if families == "both":
        assert host.ping("web", outside.ipv6)
    assert "note" not in host.netapply(path).stdout


def test_firewalls_that_accept_are_no_matter(host: Machine, outside: Outside, tmp_path: Path) -> None:
    host.run("nft add table inet fw")
    host.run("nft add chain inet fw pass { type filter hook forward priority 0 ; policy accept ; }")
    host.run("nft add rule inet fw pass ip saddr 192.0.2.1 drop")
    assert "note" not in host.netapply(write(tmp_path, PLAIN)).stdout
    assert host.ping("web", outside.ipv4)

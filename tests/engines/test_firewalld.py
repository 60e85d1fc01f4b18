"""Beside the real firewalld: nothing of its changes, what it drops is said, and what it is told to do mends that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import Machine

from . import lab as labs
from .firewalls import MANIFEST, OUTSIDE, Firewalld, mends, ours, outside, reaches, run_mends, theirs, verdict


@pytest.fixture(params=["nftables"])
def firewalld(canary: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Firewalld]:
    if reason := labs.missing("firewalld", "firewall-cmd", "dbus-daemon", "iptables", "dnsmasq"):
        pytest.skip(reason)
    with labs.lab(tmp_path) as lab:
        outside(lab)
        new = Firewalld(lab, request.param)
        new.start()
        yield new


RELOAD = "firewall-cmd --reload"
CUT = {
    "out": False,
    "out by IPv6": False,
    "in to what is open": False,
    "within a network": False,  # bridged packets pass firewalls where a namespace is new
    "published": True,  # it lets pass what was led to another address
    "names": True,
}


def test_it_stays_as_it_is_and_its_mend_opens_what_it_drops(firewalld: Firewalld) -> None:
    lab = firewalld.lab
    manifest = lab.manifest(MANIFEST)
    before, files = theirs(lab), firewalld.files()
    said = lab.netapply("plan", manifest) + lab.netapply(manifest) + lab.netapply(manifest)
    note = "note: the firewall chain inet firewalld filter_FORWARD (priority 10, its last rule is reject"
    assert said.count(note) == 3
    assert "drops what is forwarded for shop-front, shop-open;" in said
    assert "shop-back" not in "".join(line for line in said.splitlines() if line.startswith("note"))
    assert (theirs(lab), firewalld.files()) == (before, files)
    assert reaches(lab) == CUT
    answer, what, mend = verdict(lab, manifest, "web", "outside:8000")
    assert (answer, mend) == (
        "no",
        "firewall-cmd --permanent --zone=trusted --change-interface=shop-front && " + RELOAD,
    )
    assert what.endswith("drops what is forwarded for shop-front")
    with Machine().socket(lab.netns("web"), "::", 80):
        assert verdict(lab, manifest, "outside", "host:8080")[0] == "yes"
    assert verdict(lab, manifest, "outside", "api")[0] == "no"
    run_mends(lab, manifest)
    assert reaches(lab) == dict.fromkeys(CUT, True)
    with Machine().socket(lab.netns("web"), "::", 80):
        for start, target in (("web", "outside:8000"), ("outside", "host:8080"), ("outside", "api"), ("web", "db")):
            assert verdict(lab, manifest, start, target)[0] == "yes"
    assert mends(lab, manifest) == []
    run_mends(lab, manifest, "bridges")  # for what is within shop-back, which the host forwards nothing for
    assert mends(lab, manifest, "firewall", "bridges") == []
    assert "note" not in lab.netapply(manifest)
    after, files = theirs(lab), firewalld.files()
    lab.netapply("destroy", manifest)
    assert (theirs(lab), firewalld.files()) == (after, files)


@pytest.mark.thorough
def test_its_reload_leaves_ours_and_a_flush_of_both_is_mended_by_each(firewalld: Firewalld) -> None:
    lab = firewalld.lab
    manifest = lab.manifest(MANIFEST)
    lab.netapply(manifest)
    run_mends(lab, manifest)
    good, files = ours(lab), theirs(lab)
    for reload in ("--reload", "--complete-reload"):
        lab.run(["firewall-cmd", reload])
        assert ours(lab) == good
        assert "nothing to do" in lab.netapply(manifest)
    firewalld.restart()
    assert ours(lab) == good
    lab.run("nft flush ruleset")
    assert lab.tcp("outside", "web", OUTSIDE.host_ipv4, 8080, target=80) is None
    lab.netapply("plan", "--detailed-exitcode", manifest, code=2)
    said = lab.netapply(manifest)
    assert "firewall inet netapply-shop" in said
    assert ours(lab) == good
    assert lab.tcp("outside", "web", OUTSIDE.host_ipv4, 8080, target=80) is not None
    firewalld.restart()  # it can't reload what is not there
    assert sorted(theirs(lab).splitlines()) == sorted(files.splitlines()), "the order is another one each time"
    assert mends(lab, manifest) == []
    assert reaches(lab) == dict.fromkeys(CUT, True)


@pytest.mark.thorough
def test_a_zone_alone_is_not_enough_for_a_network_that_others_come_in_to(firewalld: Firewalld) -> None:
    lab = firewalld.lab
    manifest = lab.manifest(MANIFEST)
    lab.netapply(manifest)
    lab.run("firewall-cmd --permanent --zone=trusted --add-interface=shop-front --add-interface=shop-open")
    lab.run("firewall-cmd --reload")
    said = lab.netapply("plan", manifest)
    assert "drops connections from elsewhere to shop-open; firewall-cmd --permanent --new-zone=netapply" in said
    assert verdict(lab, manifest, "web", "outside")[0] == "yes"
    assert reaches(lab) == {**dict.fromkeys(CUT, True), "in to what is open": False}
    run_mends(lab, manifest)
    run_mends(lab, manifest)  # there is nothing more to run
    assert reaches(lab) == dict.fromkeys(CUT, True)


@pytest.mark.thorough
@pytest.mark.parametrize("firewalld", ["iptables"], indirect=True)
def test_its_rules_of_iptables_are_told_from_others(firewalld: Firewalld) -> None:
    lab = firewalld.lab
    manifest = lab.manifest(MANIFEST)
    before = theirs(lab)
    said = lab.netapply(manifest)
    assert "ip filter FORWARD (priority 0, its last rule is counter reject" in said
    assert theirs(lab) == before
    assert reaches(lab)["out"] is False
    run_mends(lab, manifest)
    assert reaches(lab) == dict.fromkeys(CUT, True)
    assert mends(lab, manifest) == []

"""Beside the real ufw (with iptables-nft): nothing of its changes, and what it is told to do opens what it drops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import lab as labs
from .firewalls import MANIFEST, OUTSIDE, Ufw, mends, ours, outside, reaches, run_mends, theirs, verdict


@pytest.fixture
def ufw(canary: None, tmp_path: Path) -> Iterator[Ufw]:
    if reason := labs.missing("ufw", "iptables", "dnsmasq"):
        pytest.skip(reason)
    with labs.lab(tmp_path) as lab:
        outside(lab)
        new = Ufw(lab)
        new.start()
        yield new


NOTHING = dict.fromkeys(("out", "out by IPv6", "in to what is open", "within a network", "published", "names"), False)


def test_it_stays_as_it_is_and_its_mend_opens_what_it_drops(ufw: Ufw) -> None:
    lab = ufw.lab
    manifest = lab.manifest(MANIFEST)
    before, files = theirs(lab), ufw.files()
    said = lab.netapply("plan", manifest) + lab.netapply(manifest) + lab.netapply(manifest)
    for family in ("ip", "ip6"):
        note = f"note: the firewall chain {family} filter FORWARD (priority 0, policy drop) drops what is forwarded for"
        assert said.count(note) == 3
    assert "note: the firewall chain ip filter INPUT (priority 0, policy drop) drops what containers of " in said
    assert (theirs(lab), ufw.files()) == (before, files)
    assert reaches(lab) == NOTHING
    answer, what, mend = verdict(lab, manifest, "web", "outside:8000")
    assert (answer, mend) == ("no", "ufw route allow in on shop-front && ufw route allow out on shop-front")
    assert (
        what == "the firewall chain ip filter FORWARD (priority 0, policy drop) drops what is forwarded for shop-front"
    )
    assert verdict(lab, manifest, "web", "outside")[0] == "unknown", "it lets pings pass"
    assert lab.ping("web", OUTSIDE.ipv4)
    run_mends(lab, manifest)
    assert reaches(lab) == dict.fromkeys(NOTHING, True)
    assert verdict(lab, manifest, "web", "outside:8000")[0] == "yes"
    assert mends(lab, manifest) == []
    run_mends(lab, manifest, "bridges")  # for what is within shop-back, which the host forwards nothing for
    assert mends(lab, manifest, "firewall", "bridges") == []
    assert "note" not in lab.netapply(manifest)
    after, files = theirs(lab), ufw.files()
    lab.netapply("destroy", manifest)
    assert (theirs(lab), ufw.files()) == (after, files)


@pytest.mark.thorough
def test_its_reload_leaves_ours_and_a_flush_of_both_is_mended_by_each(ufw: Ufw) -> None:
    lab = ufw.lab
    manifest = lab.manifest(MANIFEST)
    lab.netapply(manifest)
    good = ours(lab)
    lab.run("ufw reload")  # which sets up a little more than turning it on does
    files = theirs(lab)
    lab.run("ufw reload")
    assert (ours(lab), theirs(lab)) == (good, files)
    assert "nothing to do" in lab.netapply(manifest)
    lab.run("nft flush ruleset")
    lab.netapply("plan", "--detailed-exitcode", manifest, code=2)
    assert "firewall inet netapply-shop" in lab.netapply(manifest)
    assert ours(lab) == good
    assert reaches(lab) == dict.fromkeys(NOTHING, True), "there is no ufw"
    assert mends(lab, manifest) == []
    lab.run("ufw reload")
    assert sorted(theirs(lab).splitlines()) == sorted(files.splitlines()), "chains in another order"
    assert mends(lab, manifest) != []

"""Docker, firewalld and a table made by hand on one host, and netapply beside all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import lab as labs
from .docker import Docker
from .firewalls import MANIFEST, Firewalld, mends, ours, outside, reaches, run_mends, theirs

BY_HAND = "add table inet mine; add chain inet mine pass { type filter hook forward priority 20; policy drop; }"


@pytest.mark.thorough
def test_all_of_them_stay_as_they_are_and_all_of_the_mends_together_open_the_way(canary: None, tmp_path: Path) -> None:
    if reason := labs.missing("dockerd", "docker", "containerd", "runc", "firewalld", "dnsmasq"):
        pytest.skip(reason)
    with labs.lab(tmp_path, forwarding=False) as lab:
        outside(lab)
        firewalld = Firewalld(lab)
        firewalld.start()
        Docker(lab).start()
        lab.run(["nft", BY_HAND])
        before, files = theirs(lab), firewalld.files()
        plain, asking = lab.manifest(MANIFEST), lab.manifest("coexist: docker\n" + MANIFEST, "asking.yaml")
        said = lab.netapply(plain)
        for chain in ("inet firewalld filter_FORWARD", "ip filter FORWARD", "inet mine pass"):
            assert f"note: the firewall chain {chain} " in said
        assert "nothing to do" in lab.netapply(plain)
        assert (theirs(lab), firewalld.files()) == (before, files)
        assert [name for name, does in reaches(lab).items() if does] == ["names"]
        lab.netapply("destroy", plain)
        assert theirs(lab) == before
        lab.netapply(asking)
        good = ours(lab)
        run_mends(lab, asking)  # for firewalld, whose reload has Docker write its rules anew
        lab.netapply(asking)
        assert mends(lab, asking) == []
        assert reaches(lab) == dict.fromkeys(reaches(lab), True)
        assert ours(lab) == good
        assert "nothing to do" in lab.netapply(asking)

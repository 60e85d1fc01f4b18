"""CNI plugins as netapply calls them: the order, what they are told, what becomes of failures, drift, lost records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ..machine import Machine
from . import cni_lab
from .cni_lab import BIN, HOME, calls, environment, fault, leases, manifest, told

pytestmark = pytest.mark.root


@pytest.fixture
def lab(host: Machine) -> Machine:
    """An isolated host with the lab's plugins."""
    cni_lab.install()
    return host


def apply(lab: Machine, text: str, code: int = 0) -> str:
    """Apply a manifest and return what was said."""
    done = lab.netapply("-", stdin=text, code=code)
    return done.stdout + done.stderr


def records() -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted(Path("/run/netapply").glob("plugins-*/*/*.json"))]


def test_add_goes_along_the_chain_and_del_back_again(lab: Machine) -> None:
    apply(lab, manifest("web"))
    assert calls() == [
        "DEL meta shop.web eth0 web",  # nobody knows what may be left of a time before the records
        "DEL lab shop.web eth0 web",
        "ADD lab shop.web eth0 web",
        "ADD meta shop.web eth0 web",
    ]
    assert leases() == ["shop.web eth0"]
    assert lab.addresses("web")
    lab.netapply("destroy", "--project", "shop")
    assert calls() == ["DEL meta shop.web eth0 web", "DEL lab shop.web eth0 web"]
    assert leases() == []
    assert records() == []
    assert not list(Path("/run/netapply").glob("plugins-*"))


def test_a_second_apply_calls_no_plugin_but_to_check(lab: Machine) -> None:
    apply(lab, manifest("web", "db"))
    calls()
    before = lab.snapshot(), lab.snapshot("web")
    assert "nothing to do" in apply(lab, manifest("web", "db"))
    assert calls() == []
    assert (lab.snapshot(), lab.snapshot("web")) == before


def test_plugins_are_told_what_the_specification_says(lab: Machine) -> None:
    meta = {"type": "meta", "capabilities": {"portMappings": True, "aliases": False}}
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    apply(
        lab,
        manifest(
            "web",
            conflist={"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "lab", "mtu": 1400}, meta]},
            options={"cni_args": {"COLOUR": "red", "SIZE": 1}, "runtime_config": {"portMappings": []}},
            interface_name="front0",
            driver_opts={"runtime_config": {"portMappings": ports}, "cni_args": {"COLOUR": "blue"}},
        ),
    )
    assert told("ADD", "lab") == {"type": "lab", "mtu": 1400, "name": "lab", "cniVersion": "0.4.0"}
    (record,) = records()
    result = record["result"]["cni"]
    assert told("ADD", "meta") == {
        **meta,
        "name": "lab",
        "cniVersion": "0.4.0",
        "runtimeConfig": {"portMappings": ports},
        "prevResult": result,
    }
    assert told("CHECK", "lab")["prevResult"] == result
    environ = environment("ADD", "lab")
    assert environ.items() >= {
        ("CNI_COMMAND", "ADD"),
        ("CNI_IFNAME", "front0"),
        ("CNI_NETNS", "/run/netns/web"),
        ("CNI_PATH", str(BIN)),
        ("CNI_ARGS", "IgnoreUnknown=1;COLOUR=blue;SIZE=1"),
    }
    assert environ.keys() <= {
        *(key for key in environ if key.startswith("CNI_")),
        "PATH",
        "PWD",
        "_",
        "OLDPWD",
        "SHLVL",
    }
    lab.netapply("destroy", "--project", "shop")
    assert told("DEL", "lab")["prevResult"] == result


def test_a_pinned_address_is_asked_for_and_one_that_is_not_given_is_an_error(lab: Machine) -> None:
    wanted = "10.77.0.3"
    said = apply(lab, manifest("web", ipv4_address=wanted), code=1)
    assert f"the CNI plugins of web/front did not give it {wanted}" in said
    assert told("ADD", "lab")["args"] == {"cni": {"ips": [wanted]}}
    assert leases() == []
    apply(lab, manifest("web"))
    (given,) = lab.addresses("web")
    apply(lab, manifest("web", ipv4_address=given))
    assert lab.addresses("web") == [given]


def test_another_configuration_replaces_what_is_there(lab: Machine) -> None:
    apply(lab, manifest("web"))
    calls()
    other = manifest("web", conflist={"plugins": [{"type": "lab", "mtu": 1400}, {"type": "meta"}]})
    said = apply(lab, other)
    assert "conflist.plugins.0.mtu none → 1400" in said
    assert [line.split()[0] for line in calls()] == ["DEL", "DEL", "DEL", "DEL", "ADD", "ADD"]
    assert leases() == ["shop.web eth0"]


def test_a_longer_timeout_or_protection_replaces_nothing(lab: Machine) -> None:
    apply(lab, manifest("web"))
    calls()
    assert "1 changed" in apply(lab, manifest("web", options={"timeout": 50}))
    assert calls() == []
    text = json.loads(manifest("web"))
    text["networks"]["front"]["protect"] = True
    apply(lab, json.dumps(text))
    assert "protected" in apply(lab, manifest("web", options={"cni_args": {"A": "b"}}), code=3)


@pytest.mark.parametrize("edit", ["ip -n web addr flush dev eth0", "ip -n web link del eth0", "rm -r /run/lab/leases"])
def test_what_check_finds_is_made_again(lab: Machine, edit: str) -> None:
    apply(lab, manifest("web", "db"))
    lab.run(edit)
    (HOME / "leases").mkdir(exist_ok=True)
    assert "replace" in lab.netapply("plan", "--detailed-exitcode", "-", stdin=manifest("web", "db"), code=2).stdout
    apply(lab, manifest("web", "db"))
    assert lab.addresses("web")
    assert "shop.web eth0" in leases()
    assert "nothing to do" in apply(lab, manifest("web", "db"))


def test_an_error_that_will_pass_is_no_drift_and_one_at_once_is_the_plugins_own(lab: Machine) -> None:
    apply(lab, manifest("web", options={"timeout": 3}))
    for passing in ("fail later 11", "sleep 60", "exec sh -c 'head -c 2000000 /dev/zero'"):
        fault("CHECK", "meta", passing)
        assert "nothing to do" in lab.netapply("plan", "-", stdin=manifest("web", options={"timeout": 3})).stdout
    fault("CHECK", "meta", "fail 'it is no more'")
    assert "it is no more" in lab.netapply("plan", "-", stdin=manifest("web")).stdout
    lab.netapply("destroy", "--project", "shop")
    apply(lab, manifest("web"))  # that is what the plugin always says, as is found right after ADD
    assert "nothing to do" in apply(lab, manifest("web"))
    lab.run("ip -n web addr flush dev eth0")
    assert "the address is gone" in apply(lab, manifest("web"))
    fault("CHECK", "meta", "fail 'now it is'")
    assert "now it is" in lab.netapply("plan", "-", stdin=manifest("web")).stdout
    fault("CHECK", "meta", 'fail "it is no more by $$"')
    assert "now it is" not in apply(lab, manifest("web"))  # and this one says something else each time
    assert "nothing to do" in apply(lab, manifest("web"))


def test_where_no_check_is_the_interface_is_looked_for(lab: Machine) -> None:
    for unchecked in ({"cniVersion": "0.3.1"}, {"disableCheck": True}):
        text = manifest("web", conflist=unchecked)
        apply(lab, text)
        assert "CHECK" not in (HOME / "calls").read_text()
        lab.run("ip -n web link del eth0")
        assert "lacks eth0" in apply(lab, text)
        lab.netapply("destroy", "--project", "shop")


FAULTS = {
    "fail 'out of addresses' 105": "out of addresses (code 105)",
    "echo broken >&2; exit 3": "broken",
    "exit 3": "it ended with exit code 3",
    "kill -9 $$": "it was killed by SIGKILL",
    "sleep 60": "it had not ended after 3 s",
    "echo '[1, 2'": "answered ADD with no result, but with",
    "true; exit 0": "answered ADD with no result",
    "head -c 3000000 /dev/zero": "it printed more than 1 MiB",
}


@pytest.mark.parametrize("shell", FAULTS)
@pytest.mark.parametrize("plugin", ["lab", "meta"])
def test_a_failed_add_is_told_and_undone(lab: Machine, plugin: str, shell: str) -> None:
    text = manifest("web", options={"timeout": 3} if shell == "sleep 60" else {})
    before = lab.snapshot()
    fault("ADD", plugin, shell if "exit" in shell or "fail" in shell else f"{shell}; exit 0")
    said = apply(lab, text, code=1)
    assert FAULTS[shell] in said
    assert "the host is as it was before" in said
    assert [line.split()[:2] for line in calls()][-2:] == [["DEL", "meta"], ["DEL", "lab"]]
    assert (lab.snapshot(), leases(), records()) == (before, [], [])
    fault("ADD", plugin, None)
    apply(lab, manifest("web"))
    assert leases() == ["shop.web eth0"]


def test_of_many_the_failure_of_one_takes_all_back(lab: Machine) -> None:
    apply(lab, manifest("web"))
    before, had = lab.snapshot(), leases()
    fault("ADD", "lab", 'case $CNI_CONTAINERID in shop.new*) fail "no more";; esac')
    assert "no more" in apply(lab, manifest("api", "new", "web"), code=1)
    assert (lab.snapshot(), leases()) == (before, had)


def test_a_failed_del_keeps_its_record_and_the_next_run_tries_again(lab: Machine) -> None:
    apply(lab, manifest("web"))
    fault("DEL", "lab", "fail 'not now'")
    said = lab.netapply("destroy", "--project", "shop", code=4).stderr
    assert "not now" in said
    assert "left: " in said
    assert len(records()) == 1
    fault("DEL", "lab", None)
    assert "half-made" in lab.netapply("plan", "-", stdin=manifest("web")).stdout
    lab.netapply("destroy", "--project", "shop")
    assert (leases(), records()) == ([], [])


def test_a_namespace_that_was_made_anew_gets_everything_again_and_nothing_in_it_is_deleted(lab: Machine) -> None:
    apply(lab, manifest("web"))
    calls()
    lab.run("ip netns del web")
    lab.netns("web")
    lab.run("ip -n web link add mine type veth peer name eth9")
    text = json.loads(manifest("web"))
    text["containers"]["web"]["sandbox"] = {"netns": "web", "create": False}
    said = apply(lab, json.dumps(text))
    assert "its namespace is gone" in said
    assert calls()[:2] == ["DEL meta shop.web eth0 ", "DEL lab shop.web eth0 "]  # with no namespace to look into
    assert "mine" in lab.run("ip -n web link").stdout
    assert lab.addresses("web")


def test_an_interface_of_somebody_elses_is_a_conflict_and_stays(lab: Machine) -> None:
    lab.netns("web")
    lab.run("ip -n web link add eth0 type veth peer name far")
    text = json.loads(manifest("web", interface_name="eth0"))
    text["containers"]["web"]["sandbox"] = {"netns": "web", "create": False}
    said = apply(lab, json.dumps(text), code=3)
    assert "interface name eth0 in web is taken" in said
    assert calls() == []
    assert "eth0" in lab.run("ip -n web link").stdout


def test_lost_records_cost_time_and_no_truth(lab: Machine) -> None:
    apply(lab, manifest("web", "db"))
    before = lab.addresses("web")
    shutil.rmtree(next(Path("/run/netapply").glob("plugins-*")))
    apply(lab, manifest("web", "db"))
    assert lab.addresses("web") == before
    assert leases() == ["shop.db eth0", "shop.web eth0"]
    assert "nothing to do" in apply(lab, manifest("web", "db"))


def test_leases_that_outlived_a_reboot_are_collected_where_the_network_is_netapplys_own(lab: Machine) -> None:
    listed = {"cniVersion": "1.1.0"}
    apply(lab, manifest("web", "old", conflist=listed))
    shutil.rmtree(next(Path("/run/netapply").glob("plugins-*")))
    for name in ("web", "old"):
        lab.run(f"ip netns del {name}")
    apply(lab, manifest("web", "db", conflist=listed))
    assert leases() == ["shop.db eth0", "shop.web eth0"]
    (HOME / "leases" / "other-0123456789ab-eth0").touch()
    named = {**listed, "name": "podnet"}
    apply(lab, manifest("web", "db", conflist=named))
    assert "other eth0" in leases()


def test_a_configuration_file_is_read_and_a_change_of_it_is_drift(lab: Machine) -> None:
    path = Path("/run/lab/10-lab.conflist")
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "lab", "plugins": [{"type": "lab"}, {"type": "meta"}]}))
    opts = {"config": str(path), "bin_dirs": [str(BIN)]}
    text = json.loads(manifest("web"))
    text["networks"]["front"]["driver_opts"] = opts
    apply(lab, json.dumps(text))
    assert "nothing to do" in apply(lab, json.dumps(text))
    path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "lab", "type": "lab"}))
    assert "conflist.plugins" in apply(lab, json.dumps(text))
    path.unlink()
    assert "10-lab.conflist" in apply(lab, json.dumps(text), code=69)
    lab.netapply("destroy", "--project", "shop")
    assert leases() == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (f"chmod o+w {BIN}", "others than root can write to /run/lab/cni; chmod go-w /run/lab/cni"),
        (f"chmod g+w {BIN}/lab", "others than root can write to /run/lab/cni/lab"),
        (f"chown 1000 {BIN}/meta", "belongs to the user 1000"),
        (f"rm {BIN}/meta", "there is no CNI plugin meta in /run/lab/cni; install it"),
        (f"chmod a-x {BIN}/lab", "there is no CNI plugin lab"),
    ],
)
def test_only_what_root_alone_can_write_is_run(lab: Machine, make: str, said: str) -> None:
    lab.run(make)
    assert said in apply(lab, manifest("web"), code=69)
    assert not (HOME / "env-ADD-lab").exists()
    assert lab.names() == []


def test_a_version_that_a_plugin_does_not_know_is_found_before_anything_is_touched(lab: Machine) -> None:
    fault("VERSION", "meta", """echo '{"supportedVersions":["0.3.1","0.4.0"]}'; exit 0""")
    said = apply(lab, manifest("web"), code=69)
    assert "knows 0.3.1, 0.4.0 of the specification, not 1.0.0" in said
    assert (calls(), lab.names()) == ([], [])
    apply(lab, manifest("web", conflist={"cniVersion": "0.4.0"}))


def test_status_shows_what_the_plugin_gave(lab: Machine) -> None:
    apply(lab, manifest("web"))
    (address,) = lab.addresses("web")
    assert f"web: eth0 (cni lab, meta) {address}/24" in lab.netapply("status", "--project", "shop").stdout
    told = json.loads(lab.netapply("status", "--project", "shop", "--format", "json").stdout)
    (found,) = [one["value"] for one in told["resources"] if one["kind"] == "delegated"]
    assert found["addresses"] == [f"{address}/24"]
    assert found["healthy"] is True


def test_what_no_manifest_names_stays_with_no_prune(lab: Machine) -> None:
    apply(lab, manifest("web", "db"))
    assert "nothing to do" in lab.netapply("--no-prune", "-", stdin=manifest("web")).stdout
    assert leases() == ["shop.db eth0", "shop.web eth0"]


def test_another_driver_takes_its_place_and_gives_it_back(lab: Machine) -> None:
    bridge = json.dumps(
        {"project": "shop", "networks": {"front": {"internal": True}}, "containers": {"web": {"networks": ["front"]}}}
    )
    apply(lab, manifest("web"))
    apply(lab, bridge)
    assert leases() == []
    assert lab.addresses("web")
    apply(lab, manifest("web"))
    assert leases() == ["shop.web eth0"]
    assert "nothing to do" in apply(lab, manifest("web"))

"""The drivers cni and docker-plugin: what they ask for, what they refuse, and how their plans read.

`RENEW_GOLDEN=1 pytest tests/unit/test_plugin_drivers.py` writes the golden files anew; read the diff.
"""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler import engine
from reconciler.drivers import available, find
from reconciler.drivers.cni import NAME, VERSIONS
from reconciler.errors import ManifestError, Refused
from reconciler.host.fake import FakeHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.manifest.schema import published
from reconciler.report import status, text
from reconciler.report.content import Content
from reconciler.report.requests import asked, changed
from reconciler.report.terminal import View
from reconciler.resources import Delegated, Key
from tests.golden import compare

from ..strategies import new_host

GOLDEN = Path(__file__).parent / "golden" / "plugins"
golden = partial(compare, GOLDEN)

SHOP = """\
project: shop
networks:
  pods:
    driver: cni
    driver_opts:
      conflist:
        cniVersion: 1.0.0
        plugins:
          - type: bridge
            isGateway: true
            ipam: {type: host-local, ranges: [[{subnet: 10.22.0.0/24}]]}
          - {type: portmap, capabilities: {portMappings: true}}
  weave:
    driver: docker-plugin
    driver_opts: {plugin: weave, opts: {works.weave.multicast: true}}
    ipam: {config: [{subnet: 10.50.0.0/24}]}
containers:
  web:
    networks:
      pods: {driver_opts: {runtime_config: {portMappings: [{hostPort: 8080, containerPort: 80}]}}}
      weave: {ipv4_address: 10.50.0.10}
  db: {networks: [weave]}
"""


def loaded(document: str) -> Manifest:
    return load(["-"], {}, io.StringIO(document))


def requests(document: str, host: FakeHost | None = None) -> dict[str, Delegated]:
    desired = engine.plan(loaded(document), host or new_host()).desired
    return {key.name: one for key, one in desired.items() if isinstance(one, Delegated)}


def content(document: str, host: FakeHost) -> Content:
    wanted = loaded(document)
    plan = engine.plan(wanted, host).plan
    return Content("shop", plan, tuple(wanted.networks), tuple(wanted.containers), wanted.position)


def test_both_are_known_and_explain_themselves() -> None:
    assert {"cni", "docker-plugin"} <= set(available())
    for name in ("cni", "docker-plugin"):
        driver = find(name)
        assert driver
        assert all(one["description"] for one in driver.OPTIONS.values())


def test_a_configuration_is_yaml_of_any_form_or_json_text() -> None:
    wanted = [{"type": "bridge", "mtu": 1400, "isGateway": True, "name2": "007"}]
    forms = [
        "{plugins: [{type: bridge, mtu: 1400, isGateway: true, name2: '007'}]}",
        "[{type: bridge, mtu: 1400, isGateway: true, name2: '007'}]",
        "{type: bridge, mtu: 1400, isGateway: true, name2: '007'}",
        json.dumps(json.dumps({"plugins": wanted})),
    ]
    found = [json.loads(requests(cni(f"conflist: {form}"))["web/pods"].request)["conflist"] for form in forms]
    assert found == [{"cniVersion": "1.0.0", "name": "shop.pods", "plugins": wanted}] * len(forms)


def test_what_the_configuration_says_goes_before_what_netapply_would() -> None:
    told = json.loads(requests(cni("conflist: {cniVersion: 0.4.0, name: podnet, type: ptp}"))["web/pods"].request)
    assert told["conflist"] == {"cniVersion": "0.4.0", "name": "podnet", "plugins": [{"type": "ptp"}]}
    assert told["name"] == "shop.pods"


def test_names_are_such_as_plugins_take_and_no_two_are_the_same() -> None:
    pairs = [("a.b", "c"), ("a", "b.c"), ("a", "c"), ("a", "x" * 128)]
    names = []
    for project, network in pairs:
        document = cni("conflist: {type: ptp}").replace("shop", project).replace("pods", network)
        (one,) = requests(document).values()
        request = json.loads(one.request)
        names += [request["name"]]
        assert NAME.fullmatch(request["name"])
        assert NAME.fullmatch(request["container"])
    assert len(set(names)) == len(pairs)


def test_of_the_containers_and_the_networks_extras_the_containers_go_first() -> None:
    options = "conflist: {type: ptp, capabilities: {bandwidth: true, aliases: true}}, "
    options += "runtime_config: {bandwidth: {rate: 1}, aliases: [a]}, cni_args: {A: 1, B: true}"
    document = cni(options, "driver_opts: {runtime_config: {bandwidth: {rate: 2}}, cni_args: {B: no}}")
    request = json.loads(requests(document)["web/pods"].request)
    assert request["runtime_config"] == {"bandwidth": {"rate": 2}, "aliases": ["a"]}
    assert request["args"] == {"A": "1", "B": "no"}


def test_a_mac_or_an_address_is_asked_for_only_where_it_is_pinned() -> None:
    request = json.loads(requests(cni("conflist: {type: ptp}"))["web/pods"].request)
    assert (request["addresses"], request["mac"]) == ([], "")
    pinned = "ipv4_address: 10.22.0.7, ipv6_address: 'fd00:0::7', mac_address: 02-00-00-00-00-07, interface_name: pod0"
    one = requests(cni("conflist: {type: ptp}", pinned))["web/pods"]
    request = json.loads(one.request)
    assert (request["addresses"], request["mac"]) == (["10.22.0.7", "fd00::7"], "02:00:00:00:00:07")
    assert one.interface == "pod0"


def test_docker_is_told_the_same_on_every_run_and_host() -> None:
    one, other = requests(SHOP), requests(SHOP)
    assert one == other
    create = json.loads(one["web/weave"].request)["create"]
    assert len(create["EndpointID"]) == len(create["NetworkID"]) == 64
    assert create["NetworkID"] == json.loads(one["weave"].request)["create"]["NetworkID"]
    assert create["EndpointID"] != json.loads(one["db/weave"].request)["create"]["EndpointID"]
    assert one["web/weave"].requires == (Key("netns", "web"), Key("delegated", "weave"))


def cni(options: str, endpoint: str = "", network: str = "") -> str:
    """Return a manifest of one cni network with one container on it."""
    return one_network("cni", options, endpoint, network)


def docker(options: str, endpoint: str = "", network: str = "") -> str:
    return one_network("docker-plugin", options, endpoint, network)


def one_network(driver: str, options: str, endpoint: str, network: str) -> str:
    whole = f"{{driver: {driver}, driver_opts: {{{options}}}, {network}}}"
    return f"project: shop\nnetworks: {{pods: {whole}}}\ncontainers: {{web: {{networks: {{pods: {{{endpoint}}}}}}}}}\n"


COMPLAINTS = {
    cni(""): "a cni network takes one of conflist and config; say what its plugins are",
    cni(
        "conflist: {type: ptp}, config: /etc/cni/net.d/a.conf"
    ): "a cni network takes one of conflist and config, not both",
    cni("conflist: 7"): "conflist is no network configuration list",
    cni("conflist: '{'"): "conflist is no network configuration list",
    cni("conflist: []"): "conflist is no network configuration list",
    cni("conflist: {plugins: 1}"): "conflist is no network configuration list",
    cni("conflist: true"): "conflist is no network configuration list",
    cni("conflist: {plugins: [{}]}"): "a plugin needs a type, the name of its executable; add type: bridge",
    cni("conflist: [1]"): "a plugin needs a type",
    cni("conflist: {type: ../../bin/sh}"): "a plugin needs a type",
    cni("conflist: {type: ptp, capabilities: [ips]}"): "capabilities is no mapping",
    cni("conflist: {type: ptp, prevResult: {}}"): "prevResult is netapply's to give",
    cni("conflist: {cniVersion: 0.2.0, type: ptp}"): "cniVersion is 0.2.0, and netapply speaks 0.3.0,",
    cni("conflist: {cniVersion: 1.0, type: ptp}"): "cniVersion is 1.0, and netapply speaks",
    cni("conflist: {name: a/b, type: ptp}"): "name is no name of letters, digits, _ . and -",
    cni("config: relative.conflist"): "not an absolute path of a .conflist, .conf or .json file",
    cni("config: /etc/passwd"): "not an absolute path of a .conflist",
    cni("conflist: {type: ptp}, bin_dirs: [cni/bin]"): "not an absolute path with a folder cni in it",
    cni("conflist: {type: sh}, bin_dirs: [/usr/bin]"): "not an absolute path with a folder cni in it",
    cni("conflist: {type: sh}, bin_dirs: ['/opt/cni:/usr/bin']"): "not an absolute path",
    cni("conflist: {type: ptp}, timeout: 0"): "timeout is 0, and must be between 1 and 600",
    cni("conflist: {type: ptp}, confilst: {}"): "confilst",
    cni(
        "conflist: {type: ptp}, runtime_config: {ips: []}"
    ): "no plugin has the capability ips; give the plugin that it",
    cni("conflist: {type: ptp}, cni_args: {A: b;c}"): "A in cni_args is not of one word without ; and =",
    cni("conflist: {type: ptp}, cni_args: {A: [b]}"): "A in cni_args is not of one word",
    cni("conflist: {type: ptp}", "driver_opts: {runtime_config: {a: 1}}"): "no plugin has the capability a",
    cni("conflist: {type: ptp}", "driver_opts: {runtime_config: 1}"): "runtime_config must be a mapping, not 1",
    cni("conflist: {type: ptp}", "driver_opts: {cni_args: [1]}"): "cni_args must be a mapping",
    cni("conflist: {type: ptp}", "driver_opts: {conflist: {}}"): "the driver cni has no option 'conflist' for an",
    cni("conflist: {type: ptp}", "sysctls: {net.ipv4.conf.IFNAME.rp_filter: 1}"): "no sysctls; add the tuning plugin",
    cni("conflist: {type: ptp}", "link_local_ips: [fe80::9]"): "the interface is its plugin's, so no link_local_ips",
    cni("conflist: {type: ptp}", network="internal: true"): "what a cni network lets through is its plugin's to say",
    cni(
        "conflist: {type: ptp}", network="mtu: 1400"
    ): "a cni network has the addresses that its plugin gives, so no mtu",
    cni("conflist: {type: ptp}", network="ipam: {config: [{subnet: 10.0.0.0/8}]}"): "so no ipam",
    docker(""): "a docker-plugin network needs a plugin; set driver_opts.plugin",
    docker("plugin: ../x"): "not the name of a plugin",
    docker("plugin: lab, opts: {a: [1]}"): "a",
    docker("plugin: lab", network="mtu: 1400"): "the MTU is the plugin's to set; give it among driver_opts.opts",
    docker("plugin: lab", network="external: true"): "so no external",
    docker("plugin: lab", network="allow: [pods]"): "so no allow",
    docker("plugin: lab", "driver_opts: {opts: 1}"): "opts must be a mapping, not 1",
}


@pytest.mark.parametrize("document", COMPLAINTS)
def test_what_cant_be_is_said_with_its_place_and_the_mend(document: str) -> None:
    with pytest.raises(ManifestError) as failure:
        loaded(document)
    assert any(COMPLAINTS[document] in str(problem) for problem in failure.value.problems), failure.value
    assert all(problem.position.line > 1 for problem in failure.value.problems)


def test_a_fault_deep_in_a_configuration_is_pointed_at() -> None:
    with pytest.raises(ManifestError) as failure:
        loaded(SHOP.replace("type: portmap, ", ""))
    (problem,) = failure.value.problems
    assert problem.position.line == 12


def test_all_versions_of_the_specification_with_chains_are_spoken() -> None:
    for version in VERSIONS:
        assert loaded(cni(f"conflist: {{cniVersion: {version}, type: ptp}}")).networks


def test_the_published_schema_takes_what_the_loader_takes() -> None:
    import yaml

    validator = Draft202012Validator(published())
    assert validator.is_valid(yaml.safe_load(SHOP))
    for wrong in ("conflist: 7", "runtime_config: 1", "bin_dirs: []"):
        assert not validator.is_valid(yaml.safe_load(cni(wrong))), wrong


CHANGES = {
    "from-clean": SHOP,
    "another-configuration": SHOP.replace("isGateway: true", "isGateway: false\n            mtu: 1400").replace(
        "multicast: true", "multicast: false"
    ),
    "a-longer-timeout": SHOP.replace("{plugin: weave,", "{plugin: weave, timeout: 90,"),
    "another-port": SHOP.replace("8080", "8081"),
    "another-driver": SHOP.replace("networks: [weave]", "networks: [plain]").replace(
        "\ncontainers:", "\n  plain: {internal: true, ipam: {config: [{subnet: 10.60.0.0/24}]}}\ncontainers:"
    ),
    "the-same-network-by-another-driver": SHOP.replace("driver: docker-plugin", "internal: true").replace(
        "    driver_opts: {plugin: weave, opts: {works.weave.multicast: true}}\n", ""
    ),
    "a-container-less": SHOP.replace("  db: {networks: [weave]}\n", ""),
    "nothing": SHOP,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_plan_reads_like_a_good_diff(name: str) -> None:
    host = new_host()
    if name != "from-clean":
        engine.converge(loaded(SHOP), host)
    told = content(CHANGES[name], host)
    golden(f"{name}.txt", text.plan(told, View()))
    if name in ("from-clean", "another-port"):
        golden(f"{name}.verbose.txt", text.plan(told, View(verbose=True)))


def test_what_a_plugin_says_is_broken_is_told_with_its_words() -> None:
    host = new_host()
    engine.converge(loaded(SHOP), host)
    host.plugins.broken |= {"web/pods", "weave"}
    golden("broken.txt", text.plan(content(SHOP, host), View()))
    observed = host.observe(engine.scope_of(loaded(SHOP))).state
    golden("status-broken.txt", status.tree("shop", observed, content(SHOP, host), View()))
    golden("status-alone.txt", status.tree("shop", observed, None, View()))


def test_a_protected_network_of_plugins_is_not_taken_away() -> None:
    host = new_host()
    protected = SHOP.replace("driver: cni", "driver: cni\n    protect: true")
    engine.converge(loaded(protected), host)
    for other in (
        protected.replace("isGateway: true", "isGateway: false"),
        SHOP.replace("pods", "others"),
        cni("", "", "").replace("driver: cni", "internal: true").replace(", driver_opts: {}", ""),  # by another driver
    ):
        with pytest.raises(Refused):
            engine.converge(loaded(other), host)
    host.plugins.broken.add("web/pods")
    engine.converge(loaded(protected), host)  # what was broken may be made again
    engine.converge(loaded(SHOP), host)
    engine.converge(loaded(SHOP.replace("isGateway: true", "isGateway: false")), host)


def test_requests_are_told_in_short_and_their_changes_one_by_one() -> None:
    def words(one: Any, other: Any) -> list[str]:
        return [*changed(json.dumps(one), json.dumps(other))]

    assert words({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}) == ["a.b.1 2 → 3"]
    assert words({"a": [1]}, {"a": [1, 2]}) == ["a [1] → [1, 2]"]
    assert words({}, {"a": "x" * 100}) == [f"a none → {'x' * 59}…"]
    assert [*changed("no JSON", "other")] == ["request no JSON → other"]
    assert asked(Delegated("a", "cni", "", "no JSON")) == "cni"
    assert asked(Delegated("a", "cni", "", '{"config": "/etc/a.conf"}')) == "cni /etc/a.conf"
    assert asked(Delegated("a", "new", "", '{"conflist": {"plugins": 3}}')) == "new"


@pytest.mark.parametrize("name", CHANGES)
def test_json_of_a_plan_is_valid_by_the_published_schema(name: str) -> None:
    from reconciler.report import json as report

    schema = json.loads((Path(__file__).parents[2] / "schemas" / "plan.schema.json").read_text())
    host = new_host()
    engine.converge(loaded(SHOP), host)
    told = json.loads(report.text(report.plan(content(CHANGES[name], host))))
    Draft202012Validator(schema).validate(told)
    assert {one["kind"] for one in told["changes"]} <= {
        "delegated",
        "link",
        "address",
        "nft",
        "netns",
        "sysctl",
        "route",
    }

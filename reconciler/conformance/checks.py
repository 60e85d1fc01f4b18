"""What every driver must do. Each check says in its first line what that is: an author reads it when it fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from .. import engine
from ..allocation.allocate import allocate
from ..drivers import Complaint
from ..errors import HostLacks, ManifestError
from ..firewall import Zone
from ..host.fake import FakeHost
from ..manifest.core import CORE
from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Endpoint, Network
from ..placement import placed
from ..plan import Plan
from ..plugins import contract
from ..resources import HOST, Address, Delegated, Link, NftTable, Resource, Route, State
from .hosts import foreign, new_host, what_is
from .subject import CONTAINERS, NETWORKS, Document, Subject

FORCE = engine.Options(force=True)


# What is tried


def documents(data: Any, subject: Subject) -> Document:
    """Draw a manifest: one or two networks with some of the features that the driver takes, up to three containers."""
    networks: dict[str, Document] = {}
    for number, name in enumerate(NETWORKS):
        if number == 0 or data.draw(st.booleans(), label="a second network"):
            networks[name] = subject.network(number)
    for feature in data.draw(st.lists(st.sampled_from(subject.features), max_size=4)) if subject.features else ():
        number = data.draw(st.integers(0, len(networks) - 1))
        if number == 0 or feature.key not in ("ipam", "allow"):
            feature.add_to(networks[NETWORKS[number]])
    if "back" not in networks:
        networks["front"].pop("allow", None)
    containers: dict[str, Document] = {}
    for place, name in enumerate(CONTAINERS):
        most = 1 if subject.driver.TRAITS.exclusive else len(networks)
        on = data.draw(st.lists(st.sampled_from(sorted(networks)), unique=True, max_size=most), label=name)
        if on or not subject.driver.TRAITS.in_host:
            containers[name] = subject.container(place, networks, on)
    return subject.whole(networks, containers)


def valid(data: Any, subject: Subject) -> Document:
    """Draw a manifest that is valid."""
    document = documents(data, subject)
    try:
        networks_of(document, subject)
    except ManifestError:
        assume(False)
    return document


def settled(data: Any, subject: Subject) -> list[Network]:
    """Draw networks as drivers get them, with everything settled."""
    return networks_of(valid(data, subject), subject)


def networks_of(document: Document, subject: Subject) -> list[Network]:
    """Return the networks of a manifest on a new host, which is asked once. Raises ManifestError."""
    return copy.deepcopy(_networks(subject, json.dumps(document)))


@lru_cache(maxsize=4)
def _networks(subject: Subject, text: str) -> list[Network]:
    host = new_host()
    wanted = placed(subject.manifest(json.loads(text)), host)
    return list(allocate(wanted, host.observe(engine.scope_of(wanted))).networks)  # the driver sees none of it


def lowered(subject: Subject, network: Network) -> list[Resource | Zone]:
    return list(subject.driver.lower(network))


# What it says of itself


def what_it_says_of_itself_is_in_order(subject: Subject, _: Any) -> None:
    """SUMMARY is a line, TRAITS are Traits, OPTIONS are JSON Schemas with descriptions and defaults that fit."""
    from jsonschema import Draft202012Validator

    driver = subject.driver
    assert list(contract.about(driver)) == []
    assert not driver.SUMMARY.endswith("."), "SUMMARY stands in a table: no full stop"
    for name, schema in {**driver.OPTIONS, **getattr(driver, "ENDPOINT_OPTIONS", {})}.items():
        assert isinstance(schema.get("description"), str), f"option {name} has no description for `netapply drivers`"
        for value in (*schema.get("examples", ()), *((schema["default"],) if "default" in schema else ())):
            faults = [fault.message for fault in Draft202012Validator(schema).iter_errors(value)]
            assert faults == [], f"option {name} can't have the default or example {value!r} that its schema gives"


def a_network_with_no_options_is_valid(subject: Subject, _: Any) -> None:
    """A network of the driver is valid by itself, or with what --netapply-manifest says that it needs."""
    try:
        subject.manifest(subject.document())
    except ManifestError as wrong:
        raise AssertionError(f"a plain network is refused: {wrong}\n--netapply-manifest says what all need") from wrong


# check


def checking_depends_on_its_arguments_alone_and_points_into_the_network(subject: Subject, data: Any) -> None:
    """check() yields equal complaints for equal arguments, and each one's path is one of a network in a manifest."""
    spec, ends = _declared(data, subject)
    found = list(subject.driver.check(spec, ends))
    assert list(subject.driver.check(copy.deepcopy(spec), copy.deepcopy(ends))) == found, "check() is not pure"
    for complaint in found:
        assert isinstance(complaint, Complaint), f"check() yields {complaint!r}, which is no Complaint"
        assert list(contract.complaint(complaint)) == [], f"{complaint!r}"
        _points_into(subject, complaint, ends)


def _points_into(subject: Subject, complaint: Complaint, ends: Sequence[EndpointSpec]) -> None:
    if complaint.container:
        assert complaint.container in {end.container for end in ends}, f"{complaint!r} is about a container elsewhere"
        return
    keys = CORE["$defs"]["network"]["properties"]
    path = complaint.path
    assert not path or path[0] in keys, f"{complaint!r}: a network has no {path[0]}; its keys are {', '.join(keys)}"
    if path[:1] == ("driver_opts",) and len(path) > 1:
        assert path[1] in subject.driver.OPTIONS, f"{complaint!r}: OPTIONS has no {path[1]}"


def _declared(data: Any, subject: Subject) -> tuple[NetworkSpec, list[EndpointSpec]]:
    """Draw a network as declared, valid or not, with its endpoints."""
    options = [one for one in subject.features if one.option]
    chosen = data.draw(st.lists(st.sampled_from(options), max_size=3)) if options else []
    flags = {name: data.draw(st.booleans(), label=name) for name in ("internal", "external", "protect")}
    spec = NetworkSpec(
        "front",
        subject.name,
        {**subject.needed_options, **{one.key: one.value for one in chosen}},
        enable_ipv6=data.draw(st.booleans(), label="enable_ipv6"),
        mtu=data.draw(st.sampled_from([None, 1280, 9000]), label="mtu"),
        allow=tuple(data.draw(st.sampled_from([(), ("back",)]), label="allow")),
        **flags,
    )
    number = data.draw(st.integers(0, 3), label="containers")
    return spec, [EndpointSpec(f"c{place}", "front", (f"10.20.0.{place + 9}",)) for place in range(number)]


# lower


def lowering_depends_on_the_network_alone(subject: Subject, data: Any) -> None:
    """lower() yields equal resources for equal networks, whatever it lowered in between, and changes no argument."""
    networks = settled(data, subject)
    before = copy.deepcopy(networks)
    first = [lowered(subject, network) for network in networks]
    again = [lowered(subject, network) for network in reversed(copy.deepcopy(networks))][::-1]
    assert again == first, "lower() yields something else the second time: it must be a function of its argument"
    assert networks == before, "lower() changes the network that it is given"


def the_order_of_endpoints_does_not_matter(subject: Subject, data: Any) -> None:
    """lower() yields the same for each endpoint wherever it stands, so that a new container changes no other."""
    for network in settled(data, subject):
        other = replace(network, endpoints=network.endpoints[::-1])
        assert _by_key(lowered(subject, other)) == _by_key(lowered(subject, network))


def _by_key(items: Sequence[Resource | Zone]) -> dict[object, object]:
    return {"zone" if isinstance(one, Zone) else one.key: one for one in items}


def one_container_more_changes_no_other(subject: Subject, data: Any) -> None:
    """What lower() yields for a network without one endpoint is there with it, too, unchanged."""
    for network in settled(data, subject):
        for endpoint in network.endpoints:
            rest = tuple(one for one in network.endpoints if one is not endpoint)
            fewer = _ends(lowered(subject, replace(network, endpoints=rest)))
            assert fewer.items() <= _ends(lowered(subject, network)).items()


def _ends(items: Sequence[Resource | Zone]) -> dict[object, object]:
    """Return the links of endpoints, and what is on them."""
    found = [one for one in items if isinstance(one, Link | Address) and "/" in _path(one)]
    return {one.key: one for one in found}


def _path(one: Link | Address) -> str:
    return one.path if isinstance(one, Link) else one.link


def what_it_yields_is_in_order(subject: Subject, data: Any) -> None:
    """Paths are the network's, names and MACs are the kernel's to take, addresses are spelled as it does, and all that
    something stands on is yielded too."""
    from ..drivers import built_in

    for network in settled(data, subject):
        items = lowered(subject, network)
        faults = list(contract.faults(network, items))
        if subject.name not in built_in():
            faults += contract.oversteps(network, items)
        assert faults == []


def every_endpoint_has_what_the_manifest_gives_it(subject: Subject, data: Any) -> None:
    """An endpoint has a link of its path; its inner end is in the sandbox, has its name, its addresses and routes."""
    for network in settled(data, subject):
        items = lowered(subject, network)
        links = {one.path: one for one in items if isinstance(one, Link)}
        plugins = {one.path for one in items if isinstance(one, Delegated)}
        for endpoint in network.endpoints if subject.driver.TRAITS.addressed else ():
            if endpoint.path not in plugins:
                assert endpoint.path in links, f"there is no link of the path {endpoint.path}"
                _is_given(endpoint, network, links[endpoint.path], items)


def _is_given(endpoint: Endpoint, network: Network, link: Link, items: Sequence[object]) -> None:
    assert link.inner == (endpoint.sandbox, endpoint.interface_name), f"{link.path} is elsewhere, or has another name"
    inner = link.peer or link
    assert inner.mac in (None, endpoint.mac), f"{link.path} has the MAC {inner.mac}, and its endpoint {endpoint.mac}"
    assert (inner.mtu or 0) <= network.mtu, f"{link.path} has an MTU of {inner.mtu}, its network {network.mtu}"
    carried = {one.address for one in items if isinstance(one, Address) and one.link == link.path}
    assert set(endpoint.addresses) <= carried, (
        f"{link.path} lacks addresses: reconciler.lowering.addressing.addressing has them"
    )
    routed = {(one.destination, one.via) for one in items if isinstance(one, Route) and one.sandbox == endpoint.sandbox}
    wanted = {(one.destination, one.via) for one in endpoint.routes}
    assert wanted <= routed, f"{link.path} lacks routes: reconciler.lowering.addressing.addressing has them"
    assert not set(endpoint.sysctls) - set(link.sysctls), f"{link.path} lacks settings: take endpoint.sysctls"


def links_of_a_protected_network_are_marked(subject: Subject, data: Any) -> None:
    """That a network is protected is in the tags of its links, since it outlives its place in the manifest."""
    for network in settled(data, subject):
        for item in lowered(subject, replace(network, protect=True)):
            if isinstance(item, Link) and not item.path.startswith("#"):
                assert "protect" in item.tags, f"{item.path}: take reconciler.lowering.addressing.tags(network)"


def two_projects_do_not_get_into_each_others_way(subject: Subject, data: Any) -> None:
    """Names of links in the host derive from the project's name (reconciler.naming), unless an option says them."""
    document = valid(data, subject)
    others = networks_of({**document, "project": "other"}, subject)
    for one, other in zip(networks_of(document, subject), others, strict=True):
        said = {str(value) for value in one.options.values()}
        both = {*_host_names(lowered(subject, one))} & {*_host_names(lowered(subject, other))}
        assert both <= said, "two projects with a network of one name would want the same links"


def _host_names(items: Sequence[object]) -> list[str]:
    return [one.name for one in items if isinstance(one, Link) and one.sandbox == HOST and one.path[:1] != "#"]


def the_link_that_others_may_stand_on_is_there(subject: Subject, data: Any) -> None:
    """What TRAITS.host_link promises to other networks, lower() yields."""
    for network in settled(data, subject):
        name = subject.driver.TRAITS.host_link(network.project, network.name, network.options)
        names = _host_names(lowered(subject, network))
        assert name is None or name in names, f"host_link says {name}, and the links in the host are {names}"


# On a host


def converged(subject: Subject, document: Document, host: FakeHost) -> Plan:
    """Apply a manifest, demand that no other's link was touched and that nothing is left to do; return the plan."""
    around = foreign(host)
    plan = engine.converge(subject.manifest(document), host, FORCE).plan
    writes = host.writes
    again = engine.converge(subject.manifest(document), host, FORCE).plan
    assert not again, f"a second run would change something again: {again.changes}"
    assert host.writes == writes
    assert foreign(host) == around, "links of others were changed"
    return plan


def a_second_run_has_nothing_to_do(subject: Subject, data: Any) -> None:
    """What lower() yields can be made, and is what is there afterwards: nothing that the kernel changes or adds."""
    converged(subject, valid(data, subject), new_host())


def another_manifest_and_back_is_as_before(subject: Subject, data: Any) -> None:
    """From any manifest any other is reached, and the first again: nothing is left over, nothing got lost."""
    first, second, host = valid(data, subject), valid(data, subject), new_host()
    converged(subject, first, host)
    before = _wanted(subject, first, host)
    converged(subject, second, host)
    converged(subject, first, host)
    assert _wanted(subject, first, host) == before


def _wanted(subject: Subject, document: Document, host: FakeHost) -> State:
    """Return what a manifest means, without the guard's table, which stays as it was when it was made."""
    desired: Mapping[Any, Resource] = engine.plan(subject.manifest(document), host, FORCE).desired
    return {key: one for key, one in desired.items() if not isinstance(one, NftTable)}


def removing_it_leaves_the_host_as_it_was(subject: Subject, data: Any) -> None:
    """Destroying the project removes all that lower() yielded, and nothing else."""
    host = new_host()
    before = what_is(host)
    converged(subject, valid(data, subject), host)
    engine.destroy("shop", host)
    assert what_is(host) == before


def it_is_the_same_on_the_kernel(subject: Subject, data: Any) -> None:
    """What lower() yields can be made by the kernel, a second run has nothing to do, and destroying leaves nothing."""
    from ..host.linux import LinuxHost

    wanted, host = subject.manifest(valid(data, subject)), LinuxHost()
    try:
        try:
            engine.converge(wanted, host, FORCE)
        except HostLacks:
            assume(False)  # what this kernel has not is left out
        again = engine.plan(wanted, host, FORCE).plan
        assert not again, f"a second run would change something again: {again.changes}"
    finally:
        engine.destroy("shop", host)
    left = {key for key in engine.plan_destruction("shop", host).observation.state if key.kind not in ("nft", "sysctl")}
    assert left == set(), "destroying leaves something"


CHECKS: Mapping[str, Callable[[Subject, Any], None]] = {
    check.__name__: check
    for check in (
        what_it_says_of_itself_is_in_order,
        a_network_with_no_options_is_valid,
        checking_depends_on_its_arguments_alone_and_points_into_the_network,
        lowering_depends_on_the_network_alone,
        the_order_of_endpoints_does_not_matter,
        one_container_more_changes_no_other,
        what_it_yields_is_in_order,
        every_endpoint_has_what_the_manifest_gives_it,
        links_of_a_protected_network_are_marked,
        two_projects_do_not_get_into_each_others_way,
        the_link_that_others_may_stand_on_is_there,
        a_second_run_has_nothing_to_do,
        another_manifest_and_back_is_as_before,
        removing_it_leaves_the_host_as_it_was,
    )
}


def try_out(check: Callable[[Subject, Any], None], subject: Subject, examples: int, *, same: bool = False) -> None:
    """Run a check with that many examples: new ones, of which the smallest that fails is told, or the `same` ones."""

    @settings(
        max_examples=examples,
        derandomize=same,
        phases=(Phase.generate,) if same else (Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(st.data())
    def attempt(data: Any) -> None:
        check(subject, data)

    if check in (what_it_says_of_itself_is_in_order, a_network_with_no_options_is_valid):
        check(subject, None)
    else:
        attempt()

"""libnetwork's remote drivers: a plugin makes a network and links, netapply puts the links into containers.

The protocol is in moby's libnetwork/docs/remote.md and drivers/remote/api.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ...errors import HostLacks, OperationFailed
from ...lowering.addressing import DEFAULT_METRIC
from ...resources import HOST, Delegated
from .. import marks, namespaces, rtnetlink, sysctl
from ..namespaces import Place
from ..netlink import Message
from ..steps import Act, Send, Task
from . import records, sockets
from .jobs import PLUGIN_SAYS, Job
from .records import Record
from .sockets import Refusal

_CONNECTED = 1
"""The RouteType of a static route without a next hop (types.CONNECTED of libnetwork)."""


def ready(wanted: Delegated) -> Delegated:
    """See `jobs.Speaker.ready`."""
    if wanted.sandbox == HOST:
        record = records.of(wanted, 0)
        name = record.asked["plugin"]
        manifest = sockets.call(name, "Plugin.Activate", None, record.timeout)
        if "NetworkDriver" not in (manifest.get("Implements") or ()):
            raise HostLacks(f"Docker plugin {name} is no network driver; name another in driver_opts.plugin")
        sockets.call(name, "NetworkDriver.GetCapabilities", None, record.timeout)
    return wanted


def make(job: Job) -> None:
    """See `jobs.Speaker.make`.

    What is new to netapply may be known to the plugin all the same, where a record is lost: then it is deleted first.
    """
    request = job.record.asked
    kind = "Network" if job.record.sandbox == HOST else "Endpoint"
    try:
        answer = _call(job, f"Create{kind}", request["create"])
    except Refusal as refusal:
        _clear(job, request)
        try:
            answer = _call(job, f"Create{kind}", request["create"])
        except Refusal:
            raise refusal from None
    if job.record.sandbox == HOST:
        return
    _demand_given(job, request, answer.get("Interface") or {})
    options = {"SandboxKey": job.place, "Options": request["join"]}
    joined = _call(job, "Join", {**_ids(request), **options})
    given = {"addresses": request["addresses"], "routes": _routes(job, request, joined)}
    link = _link_of(job, joined)
    result = {"link": link, "given": given if link else {}, "interface": bool(link)}
    job.save("note what Join said", job.record._replace(result=result, addresses=tuple(request["addresses"])))
    if link:
        job.run(_attach(job, request, link, given["routes"]))


def _clear(job: Job, request: Mapping[str, Any]) -> None:
    """Have the plugin delete what it may know by the same ID, and what it had put into the container go."""
    methods = ("DeleteNetwork",) if job.record.sandbox == HOST else ("Leave", "DeleteEndpoint")
    for method in methods:
        with suppress(Refusal):
            _call(job, method, _ids(request))
    if job.record.sandbox != HOST:
        job.run(_drop(job))


def unmake(job: Job) -> None:
    """See `jobs.Speaker.unmake`. The plugin gets its link back as it gave it, before it is told to delete it."""
    request = job.record.asked
    if job.record.sandbox == HOST:
        _undo(job, "DeleteNetwork", request)
        return
    link = (job.record.result or {}).get("link")
    if link and job.sandbox:
        with_home = namespaces.current()
        try:
            job.run(_detach(job, link, with_home))
        finally:
            os.close(with_home)
    failures = []
    for method in ("Leave", "DeleteEndpoint"):
        try:
            _undo(job, method, request)
        except Refusal as refusal:
            failures.append(refusal)
    if failures:
        raise OperationFailed("\n".join(map(str, failures)))


def trouble(record: Record, place: Place | None) -> str:
    """See `jobs.Speaker.trouble`: whether the plugin still knows of an endpoint. Nothing asks for a network."""
    if place is None:
        return ""
    request = record.asked
    try:
        sockets.call(request["plugin"], "NetworkDriver.EndpointOperInfo", _ids(request), record.timeout)
    except Refusal as refusal:
        return f"{PLUGIN_SAYS}{refusal}"
    except (OperationFailed, HostLacks):
        return ""
    return ""


def _call(job: Job, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
    job.trap(method)
    return sockets.call(job.record.asked["plugin"], f"NetworkDriver.{method}", body, job.record.timeout)


def _undo(job: Job, method: str, request: Mapping[str, Any]) -> None:
    """Have something taken away. A plugin that has lost it may say so."""
    try:
        _call(job, method, _ids(request))
    except Refusal:
        if not job.lenient:
            raise


def _ids(request: Mapping[str, Any]) -> dict[str, str]:
    create = request["create"]
    return {key: create[key] for key in ("NetworkID", "EndpointID") if key in create}


def _demand_given(job: Job, request: Mapping[str, Any], answered: Mapping[str, Any]) -> None:
    """Raise OperationFailed if a plugin wants other addresses, or another MAC, than it was given."""
    for key, value in request["create"]["Interface"].items():
        other = answered.get(key) or value
        if str(other).lower() != value.lower():
            what = f"Docker plugin {request['plugin']} wants {key} {other} for {job.record.path}, not {value or 'none'}"
            raise OperationFailed(f"{what}; addresses are netapply's to give: configure the plugin so")


def _link_of(job: Job, joined: Mapping[str, Any]) -> str:
    """Return the name of the link that Join names, "" where it names none: then the plugin puts it there by itself."""
    found = (joined.get("InterfaceName") or {}).get("SrcName") or ""
    if not isinstance(found, str):
        raise OperationFailed(f"the plugin's Join for {job.record.path} names {found!r}, which is no link")
    return found


def _routes(job: Job, request: Mapping[str, Any], joined: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return the routes that Join wants, connected ones first, then the gateways: destinations and next hops.

    Default routes are only for the endpoint that carries them, by what the manifest says.
    """
    found: list[tuple[str, str | None]] = []
    for route in sorted(joined.get("StaticRoutes") or (), key=lambda one: one.get("RouteType") != _CONNECTED):
        via = None if route.get("RouteType") == _CONNECTED else route.get("NextHop") or None
        found.append((str(route.get("Destination")), via))
    for key, destination in (("Gateway", "0.0.0.0/0"), ("GatewayIPv6", "::/0")):
        if joined.get(key):
            found.append((destination, str(joined[key]).partition("/")[0]))
    found += [(to, via) for to, via, _ in request["routes"]]
    try:
        return [_canonical(*one) for one in dict.fromkeys(found) if _is_wanted(one[0], request)]
    except ValueError as failure:
        raise OperationFailed(f"the plugin's Join for {job.record.path} has a bad route: {failure}") from failure


def _is_wanted(destination: str, request: Mapping[str, Any]) -> bool:
    return destination not in ("0.0.0.0/0", "::/0") or destination in request["defaults"]


def _canonical(destination: str, via: str | None) -> tuple[str, str | None]:
    from ipaddress import ip_address, ip_network

    return str(ip_network(destination, strict=False)), str(ip_address(via)) if via else None


# The link


def _attach(job: Job, request: Mapping[str, Any], link: str, routes: Sequence[tuple[str, str | None]]) -> Task:
    """Put the plugin's link into the container, under the name that it has there, and give it what Join said."""
    record, sandbox = job.record, job.sandbox or HOST
    what, inside = f"link {link}", f"link {record.interface} of {sandbox}"
    (answer,) = yield [Send(HOST, rtnetlink.get_link(link), what)]
    row = rtnetlink.link_row(answer.echo)
    if row.ifindex == rtnetlink.LOOPBACK or row.group in marks.GROUPS:
        raise OperationFailed(f"the plugin's Join for {record.path} names {link}, which is no link of the plugin's")
    with namespaces.opened(job.runner.place(sandbox)) as descriptor:
        moved = rtnetlink.link(
            index=row.ifindex, netns_fd=descriptor, name=record.interface, alias=job.mark, mac=request["mac"]
        )
        yield [Send(HOST, rtnetlink.set_link(moved), what)]
    (answer,) = yield [Send(sandbox, rtnetlink.get_link(record.interface), inside)]
    index = rtnetlink.link_row(answer.echo).ifindex
    yield [
        *(Act(sandbox, partial(_set, key, record.interface, value)) for key, value in request["sysctls"].items()),
        *(
            Send(sandbox, rtnetlink.new_address(index, address), f"address {address} of {record.path}")
            for address in request["addresses"]
        ),
        Send(sandbox, rtnetlink.set_link(rtnetlink.link(index=index, up=True)), inside),
        *(Send(sandbox, _new_route(index, to, via, request), f"route {to} of {record.path}") for to, via in routes),
    ]


def _set(key: str, link: str, value: str, trap: namespaces.Trap) -> None:
    sysctl.write(sysctl.of_link(key, link), value, trap)


def _new_route(index: int, destination: str, via: str | None, request: Mapping[str, Any]) -> Message:
    said = (metric for to, _, metric in request["routes"] if to == destination and metric is not None)
    metric = next(said, DEFAULT_METRIC[6 if ":" in destination else 4])
    return rtnetlink.new_route(rtnetlink.route(destination, via=via, link=index, metric=int(metric)))


def _drop(job: Job) -> Task:
    """Delete the link that was put into the container before, if it is still there."""
    sandbox = job.sandbox or HOST
    what = f"link {job.record.interface} of {sandbox}"
    (answer,) = yield [Send(sandbox, rtnetlink.get_link(job.record.interface), what, (errno.ENODEV,))]
    row = rtnetlink.link_row(answer.echo) if not answer.errno else None
    if row and row.alias == job.mark:
        yield [Send(sandbox, rtnetlink.delete_link(row.ifindex), what, (errno.ENODEV,))]


def _detach(job: Job, link: str, home: int) -> Task:
    """Put the link back into the host, under the name that the plugin knows; one that is gone stays so."""
    sandbox = job.sandbox or HOST
    what = f"link {job.record.interface} of {sandbox}"
    (answer,) = yield [Send(sandbox, rtnetlink.get_link(job.record.interface), what, (errno.ENODEV,))]
    row = rtnetlink.link_row(answer.echo) if not answer.errno else None
    if row is None or row.alias != job.mark:
        return  # a killed run had not moved it yet, and this is somebody else's
    body = rtnetlink.link(index=row.ifindex, netns_fd=home, name=link, alias="")
    down = rtnetlink.link(index=row.ifindex, up=False)
    yield [Send(sandbox, rtnetlink.set_link(down), what), Send(sandbox, rtnetlink.set_link(body), what)]

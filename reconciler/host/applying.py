"""Making changes: which go together, in which order, and what each is in the kernel's terms."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TypeAlias

from ..errors import NetapplyError, OperationFailed
from ..plan import Change, Create, Delete, Update
from ..resources import (
    GUARD_TABLE,
    HOST,
    LINK_GROUP,
    WIREGUARD,
    Accepts,
    Address,
    BridgeVlan,
    Delegated,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Port,
    ResolvConf,
    Resource,
    Route,
    Shaper,
    Sysctl,
    Wireguard,
    WireguardPeer,
)
from . import Result, guarding, links, marks, nft, rtnetlink, sysctl, unlinking
from .namespaces import in_a_thread, refuse
from .observing import Inventory
from .sandboxes import Sandboxes
from .steps import Runner, Send, Task

MOST = 256
"""How many changes are made before the first one's result is known; each may hold a descriptor meanwhile."""

_Outcome: TypeAlias = NetapplyError | None


def apply(
    changes: Sequence[Change], inventory: Inventory, sandboxes: Sandboxes, runner: Runner, most: int
) -> Iterator[Result]:
    """Make the changes and yield what became of each, up to `most` at a time. Raises HostLacks and NotPermitted."""
    in_a_thread(lambda: _put_back(changes, inventory, runner))
    if WIREGUARD in inventory.links:
        from . import wireguard

        wireguard.remember(inventory, runner)
    for batch in _batches(changes, most):
        outcomes = in_a_thread(partial(_make, batch, inventory, sandboxes, runner))
        for change, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None and not isinstance(outcome, OperationFailed):
                raise outcome
            yield Result(change, outcome)


def _put_back(changes: Sequence[Change], inventory: Inventory, runner: Runner) -> None:
    """Put links into their group that a killed run was about to delete, and that stay."""
    doomed = {change.key.name for change in changes if isinstance(change, Delete)}
    paths, inventory.misplaced = inventory.misplaced, []
    for path in paths:
        if path not in doomed:
            ends = inventory.links[path]
            body = rtnetlink.link(index=ends.ifindex, group=LINK_GROUP)
            with runner.door(ends.sandbox) as door:
                runner.send([Send(ends.sandbox, rtnetlink.set_link(body), f"link of {path}")], door)


def _batches(changes: Sequence[Change], most: int) -> Iterator[list[Change]]:
    """Split the changes into runs that do not depend on each other, and can be made side by side."""
    for kind, group in groupby(changes, _kind):
        batch: list[Change] = []
        made: set[Key] = set()
        limit = {"alone": 1, "unlink": len(changes), "way": len(changes) if most > 1 else 1}.get(kind, most)
        for change in group:
            resource = change.before if isinstance(change, Delete) else change.after
            if batch and (len(batch) >= limit or (kind == "link" and not made.isdisjoint(resource.requires))):
                yield batch
                batch, made = [], set()
            batch.append(change)
            made.add(change.key)
        if batch:
            yield batch


def _kind(change: Change) -> str:
    match change:
        case Create(after=Link()):
            return "link"
        case Update(after=Link(), fields=fields) if not {"name", "peer.name"} & set(fields):
            return "link"
        case Delete(before=Link()):
            return "unlink"
        case Create(after=Address() | Route()):
            return "dress"
        case Delete(before=Address() | Route()):
            return "undress"
        case Create(after=Netns()):
            return "make"
        case Update(after=Netns()):
            return "remake"
        case Delete(before=Netns()):
            return "unmake"
        case Create(after=BridgeVlan()) | Update(after=BridgeVlan()):
            return "vlans"
        case Delete(before=BridgeVlan()):
            return "no vlans"
        case Create(after=FdbEntry() | Neighbour()) | Update(after=FdbEntry() | Neighbour()):
            return "way"
        case Delete(before=FdbEntry() | Neighbour()):
            return "way"
        case Create(after=Wireguard() | WireguardPeer()) | Update(after=Wireguard() | WireguardPeer()):
            return "tunnel"
        case (
            Create(after=DnsHosts() | DnsServer() | ResolvConf())
            | Update(after=DnsHosts() | DnsServer() | ResolvConf())
            | Delete(before=DnsHosts() | DnsServer() | ResolvConf())
        ):
            return "names"
        case Create(after=Shaper()) | Update(after=Shaper()):
            return "shape"
        case Delete(before=Shaper()):
            return "unshape"
        case (
            Create(after=NftTable(sandbox=sandbox))
            | Update(after=NftTable(sandbox=sandbox))
            | Delete(before=NftTable(sandbox=sandbox))
        ) if sandbox != HOST:
            return "table"
        case _:
            return "alone"


def _make(batch: list[Change], inventory: Inventory, sandboxes: Sandboxes, runner: Runner) -> Sequence[_Outcome]:
    match batch[0]:
        case Create(after=Netns()):
            return sandboxes.create([change.after for change in batch if isinstance(change.after, Netns)])  # type: ignore[union-attr]
        case Delete(before=Netns()):
            return sandboxes.delete([change.before for change in batch if isinstance(change.before, Netns)])  # type: ignore[union-attr]
        case Delete(before=Link()):
            return unlinking.delete(batch, inventory, runner)
        case Create(after=BridgeVlan()) | Update(after=BridgeVlan()) | Delete(before=BridgeVlan()):
            from . import vlans

            return vlans.make(batch, inventory, runner)
        case (
            Create(after=FdbEntry() | Neighbour())
            | Update(after=FdbEntry() | Neighbour())
            | Delete(before=FdbEntry() | Neighbour())
        ):
            from . import neighbours

            return neighbours.make(batch, inventory, runner)
        case (
            Create(after=Wireguard() | WireguardPeer())
            | Update(after=Wireguard() | WireguardPeer())
            | Delete(before=Wireguard() | WireguardPeer())
        ):
            from . import wireguard

            return wireguard.make(batch, inventory, runner)
        case Create(after=Shaper()) | Update(after=Shaper()) | Delete(before=Shaper()):
            from . import shaping

            return shaping.make(batch, inventory, runner)
        case Create(after=Delegated()) | Update(after=Delegated()) | Delete(before=Delegated()):
            from .delegates import jobs

            return _in_turn(batch, lambda change: jobs.make(change, inventory, runner))
        case _ if _kind(batch[0]) == "names":
            from .dns import jobs as names

            return _in_turn(batch, lambda change: names.make(change, inventory, runner, sandboxes))
        case _ if _kind(batch[0]) == "table":
            from . import tables

            return tables.make(batch, runner)
        case (
            Create(after=Sysctl() | NftTable() | Accepts())
            | Update(after=Sysctl() | NftTable() | Accepts())
            | Delete(before=Sysctl() | NftTable() | Accepts())
        ):
            return _in_turn(batch, lambda change: _set_on_host(change, inventory, runner))
        case _:
            return runner.run([_task(change, inventory) for change in batch])


def _task(change: Change, inventory: Inventory) -> Task:
    """Return the task that makes a change to a link, an address, a route, or to what a namespace already is."""
    match change:
        case Create(after=Link() as link):
            return links.create(inventory, link)
        case Update(before=Link() as before, after=Link() as after, fields=fields):
            return links.update(inventory, before, after, fields)
        case Update(after=Netns() as netns, fields=fields):
            return _update_netns(inventory, netns, fields)
        case Create(after=Address() as address):
            return _address(inventory, address, delete=False)
        case Delete(before=Address() as address):
            return _address(inventory, address, delete=True)
        case Create(after=Route() as route) | Update(after=Route() as route):
            return _route(inventory, route, replace=isinstance(change, Update))
        case Delete(before=Route() as route):
            return _delete_route(inventory, route)
        case Create(after=Port()) | Update(after=Port()) | Delete(before=Port()):
            return _port(inventory, change)
        case _:
            raise TypeError(f"{change} can't be made")


def _port(inventory: Inventory, change: Change) -> Task:
    from . import uplinks

    match change:
        case Create(after=Port() as port):
            return uplinks.create(inventory, port)
        case Delete(before=Port() as port):
            return uplinks.delete(inventory, port)
        case Update(after=Port() as port, fields=fields):
            return uplinks.update(inventory, port, fields)
        case _:
            raise TypeError(f"{change} is not about a port")


def _update_netns(inventory: Inventory, netns: Netns, fields: Sequence[str]) -> Task:
    alias = None
    if "adopted" in fields:
        alias = "" if netns.adopted else marks.sandbox_alias(inventory.project, netns.sandbox, inventory.host)
    up = netns.loopback_up if "loopback_up" in fields else None
    body = rtnetlink.link(index=rtnetlink.LOOPBACK, alias=alias, up=up)
    yield [Send(netns.sandbox, rtnetlink.set_link(body), f"lo of {netns.sandbox}")]


def _address(inventory: Inventory, address: Address, *, delete: bool) -> Task:
    sandbox, index = _carrier(inventory, address.link)
    what = f"address {address.address} of {address.link}"
    if not delete:
        yield [Send(sandbox, rtnetlink.new_address(index, address.address), what)]
        return
    steps = [Send(sandbox, rtnetlink.delete_address(index, address.address), what)]
    if ":" not in address.address:  # or the kernel deletes the other addresses of the subnet with its first one
        keep = rtnetlink.set_link(rtnetlink.link(index=index, promote=True))
        steps.insert(0, Send(sandbox, keep, f"link of {address.link}"))
    yield steps


def _route(inventory: Inventory, route: Route, *, replace: bool) -> Task:
    index = _carrier(inventory, route.link)[1] if route.link else None
    body = rtnetlink.route(
        route.destination, via=route.via, link=index, metric=route.metric, kind=route.type, onlink=route.onlink
    )
    message = rtnetlink.replace_route(body) if replace else rtnetlink.new_route(body)
    yield [Send(route.sandbox, message, _words(route))]


def _delete_route(inventory: Inventory, route: Route) -> Task:
    """Delete a route; one that went with its link or its address is deleted already."""
    ends = inventory.links.get(route.link) if route.link else None
    if route.link and ends is None:
        return
    body = rtnetlink.route(
        route.destination,
        via=route.via,
        link=ends.inner_ifindex if ends else None,
        metric=route.metric,
        kind=route.type,
        delete=True,
    )
    yield [Send(route.sandbox, rtnetlink.delete_route(body), _words(route), (errno.ESRCH,))]


def _carrier(inventory: Inventory, path: str) -> tuple[str, int]:
    """Return the sandbox and the index of a link's end that carries addresses."""
    ends = inventory.links.get(path)
    if ends is None or not ends.inner_ifindex:
        raise OperationFailed(f"link {path} is not there (ENODEV)", errno.ENODEV)
    return ends.inner_sandbox, ends.inner_ifindex


def _words(route: Route) -> str:
    return f"route {route.destination} of {route.sandbox}" if route.sandbox else f"route {route.destination}"


def _in_turn(changes: Sequence[Change], make: Callable[[Change], None]) -> list[_Outcome]:
    """Make changes, one after the other, and return what became of each."""
    outcomes: list[_Outcome] = []
    for change in changes:
        try:
            make(change)
        except OSError as refused:
            outcomes.append(refuse(refused, str(change.key)))
        except NetapplyError as error:
            outcomes.append(error)
        else:
            outcomes.append(None)
    return outcomes


def _set_on_host(change: Change, inventory: Inventory, runner: Runner) -> None:
    """Make a change to a setting of the host or to a table."""
    resource: Resource = change.before if isinstance(change, Delete) else change.after
    match change, resource:
        case _, NftTable() as table if table.name != GUARD_TABLE:
            from . import publishing

            with runner.inside(HOST) as door:
                publishing.write(change, door, runner.trap)
        case Delete(), NftTable(family=family, name=name):
            runner.trap(f"delete nft table {name}")
            guarding.forget(inventory.host)
            nft.delete(family, name)
        case _, NftTable(family=family, name=name, text=text):
            runner.trap(f"write nft table {name}")
            guarding.remember(inventory.host, text)
            nft.replace(family, name, text)
        case _, Accepts() as accepts:
            from . import coexistence

            runner.trap(f"write rules of {accepts.name}")
            wanted = () if isinstance(change, Delete) else accepts.rules
            coexistence.accept(inventory.project, Accepts(accepts.family, wanted))
        case Delete(), Sysctl(name=name):
            raise OperationFailed(f"setting {name} can't be taken away (EOPNOTSUPP)", errno.EOPNOTSUPP)
        case _, Sysctl(name=name, value=value):
            sysctl.write(name, value, runner.trap)

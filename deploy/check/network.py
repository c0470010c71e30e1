"""Who reaches the pods of a release, where a NetworkPolicy says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Manifest: TypeAlias = dict[str, Any]
_NAMED_BY: Final = {"lookups": "clients", "metrics": "metrics", "admin": "admin"}
"""The value that names who may reach a port."""


def problems_of(policy: Manifest, labels: Mapping[str, str], values: Manifest) -> Iterator[str]:
    """Say what a policy lets through that it should not, or keeps out. `labels` are those of the pods."""
    spec = policy["spec"]
    if spec["policyTypes"] != ["Ingress"]:
        yield f"NetworkPolicy must be for what comes in, got {spec['policyTypes']}"
    let_in = {
        _use_of(port, values["ports"], values["workers"]): rule.get("from", [])
        for rule in spec["ingress"]
        for port in rule["ports"]
    }
    yield from _unnamed(let_in)
    yield from _kept_out(let_in, labels, values["networkPolicy"])


def _unnamed(let_in: Mapping[str, list[Manifest]]) -> Iterator[str]:
    for use, peers in let_in.items():
        if use not in _NAMED_BY:
            yield f"NetworkPolicy opens {use}, not the lookups of all workers, metrics or admin"
        if not peers:
            yield f"NetworkPolicy lets everybody reach {use}"


def _kept_out(let_in: Mapping[str, list[Manifest]], labels: Mapping[str, str], named: Manifest) -> Iterator[str]:
    for use, value in _NAMED_BY.items():
        if missing := [peer for peer in named[value] if peer not in let_in.get(use, ())]:
            yield f"NetworkPolicy keeps {missing} from {use}"
    selectors = [peer["podSelector"] for peer in let_in.get("lookups", ()) if peer.keys() == {"podSelector"}]
    if not any(each.get("matchLabels", {}).items() <= labels.items() for each in selectors):
        yield "NetworkPolicy must let nodes reach each other's lookups"


def _use_of(port: Manifest, ports: Mapping[str, int], workers: int) -> str:
    """Return what a port, or a range of them, is for, as the values call it; if it is no whole use, the range."""
    opened = (port["port"], port.get("endPort", port["port"]))
    uses = {(number, number): use for use, number in ports.items() if use != "lookups"}
    uses[ports["lookups"], ports["lookups"] + int(workers) - 1] = "lookups"
    return uses.get(opened, "ports {} to {}".format(*opened))

"""What a pool's workers may reach beside their own workflow, as network policies write it. Pure.

Not in: what every workflow's pods may reach (:mod:`fitcast.scheduler.backends.kubernetes.objects`).
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from fitcast.errors import InvalidPoolError

Object = dict[str, Any]

METADATA_SERVERS: Final = ("169.254.169.254/32", "fd00:ec2::254/128")
"""Where clouds give credentials of a node to whoever asks: left out of every larger network."""

_KEYS: Final = ("cidr", "namespace_labels", "pod_labels", "port", "protocol")
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")


def egress_rule(pool: str, given: Any) -> Object:
    """Return the rule of a network policy for one entry of a pool's ``egress``.

    Parameters
    ----------
    pool : str
        The pool's name, for messages.
    given : mapping
        ``port``, and either ``cidr`` or labels: ``namespace_labels`` of the namespace (without
        them the pool's own), ``pod_labels`` of pods there (without them all). ``protocol`` is
        ``"TCP"`` unless it says otherwise.

    Raises
    ------
    InvalidPoolError
        The entry can't be used; the message says what would.
    """
    if not isinstance(given, Mapping):
        raise _refused(pool, given, "isn't a mapping")
    if unknown := sorted(set(map(str, given)) - set(_KEYS)):
        raise _refused(pool, given, f"has {unknown[0]!r}, which isn't known")
    has_labels = "namespace_labels" in given or "pod_labels" in given
    if ("cidr" in given) == has_labels:
        raise _refused(pool, given, "needs either cidr, or namespace_labels and pod_labels")
    to = (
        {"ipBlock": _block(pool, given)}
        if "cidr" in given
        else {
            selector: {"matchLabels": _labels(pool, given, key)}
            for key, selector in (
                ("namespace_labels", "namespaceSelector"),
                ("pod_labels", "podSelector"),
            )
            if key in given
        }
    )
    return {"to": [to], "ports": [_port(pool, given)]}


def _block(pool: str, given: Mapping[str, Any]) -> Object:
    text = given["cidr"]
    try:
        if not isinstance(text, str) or "/" not in text:
            raise ValueError("a network is written as address/length")
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise _refused(pool, given, f"has a cidr that can't be: {error}") from error
    servers = [ipaddress.ip_network(one) for one in METADATA_SERVERS]
    left_out = [
        str(one)
        for one in servers
        if one.version == network.version and one != network and one.subnet_of(network)  # type: ignore[arg-type]
    ]
    return {"cidr": str(network)} | ({"except": left_out} if left_out else {})


def _labels(pool: str, given: Mapping[str, Any], key: str) -> dict[str, str]:
    labels = given[key]
    if (
        not isinstance(labels, Mapping)
        or not labels
        or not all(isinstance(part, str) for pair in labels.items() for part in pair)
    ):
        raise _refused(pool, given, f"has {key} that aren't labels: give texts by name")
    return dict(labels)


def _port(pool: str, given: Mapping[str, Any]) -> Object:
    port, protocol = given.get("port"), given.get("protocol", "TCP")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise _refused(pool, given, f"has port {port!r}, which is no number from 1 to 65535")
    if protocol not in _PROTOCOLS:
        raise _refused(pool, given, f"has protocol {protocol!r}: one of {', '.join(_PROTOCOLS)}")
    return {"protocol": protocol, "port": port}


def _refused(pool: str, given: Any, what: str) -> InvalidPoolError:
    return InvalidPoolError(
        f"pool {pool!r}: egress {given!r} {what}; write it as "
        '{"cidr": "10.1.0.0/16", "port": 443} or {"namespace_labels": '
        '{"kubernetes.io/metadata.name": "mlflow"}, "pod_labels": {"app": "mlflow"}, "port": 5000}'
    )

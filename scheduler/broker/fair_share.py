"""Whose workflow goes next. Pure."""

from dataclasses import dataclass, field

from fitcast.scheduler.broker.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a user had of the cluster, decayed as of a time."""

    user_id: int
    user: str
    group: str
    weight: float
    usage: Resources = field(default_factory=Resources)  # in resource-seconds
    as_of_s: float = 0.0

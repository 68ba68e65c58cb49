"""Why pods don't start: by their status or, where that is silent, by the cluster's warnings.

A volume that can't be mounted, or a sandbox that can't be made, leaves a pod "ContainerCreating"
without a reason; events alone tell it.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

from fitcast.scheduler.backends.kubernetes import pods

SILENT_FOR_S = 10.0
"""A pod that has a node and tells nothing for so long is asked after."""

ASK_EVERY_S = 5.0


class Warns(Protocol):
    """What tells warnings."""

    def warnings_of(self, pod: str) -> list[str]:
        """Return what the cluster warned of about a pod, the latest last."""


class Starting:
    """Remembers how long pods have been silent.

    Parameters
    ----------
    api : Warns
        Is asked for warnings.
    """

    def __init__(self, api: Warns) -> None:
        self._api = api
        self._ask_s: dict[str, float] = {}  # by name, when to ask (again)
        self._said: dict[str, str] = {}

    def why_not(self, pod: Mapping[str, Any]) -> str:
        """Return why a pod doesn't start; empty if nothing is known to be wrong."""
        name = pod["metadata"]["name"]
        if not pods.is_silent(pod):
            self._ask_s.pop(name, None)
            self._said.pop(name, None)
            return pods.why_pending(pod)
        now_s = time.monotonic()
        if now_s >= self._ask_s.setdefault(name, now_s + SILENT_FOR_S):
            self._ask_s[name] = now_s + ASK_EVERY_S
            told = [one for one in self._api.warnings_of(name) if _keeps_away(one)]
            self._said[name] = told[-1] if told else ""
        return self._said.get(name, "")


def _keeps_away(warning: str) -> bool:
    """Tell whether a warning is of what keeps a pod from starting once it has a node."""
    reason = warning.partition(":")[0]
    return reason == "NetworkNotReady" or (
        reason.startswith("Failed") and reason != "FailedScheduling"
    )

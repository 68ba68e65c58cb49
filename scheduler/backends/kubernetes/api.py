"""The edge to a Kubernetes API server: plain objects in and out, errors of ours, never a hang.

Nothing else in fitcast imports ``kr8s``. Not in: how objects look
(:mod:`fitcast.scheduler.backends.kubernetes.objects`), what is done with them.

An event loop in a thread of its own carries the calls; methods block, each within a time. A server
that is away for a moment is asked again, as often as `patience_s` allows.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import kr8s
import kr8s.asyncio
import stamina
from httpx_ws import HTTPXWSException, WebSocketUpgradeError

from fitcast.errors import (
    ClusterAccessError,
    ClusterError,
    ClusterQuotaError,
    ClusterRejectedError,
    ClusterUnreachableError,
)
from fitcast.scheduler.backends.kubernetes.forwarding import ForwardedPort

Object = dict[str, Any]

VERSIONS: Final = {
    "daskclusters": "kubernetes.dask.org/v1",
    "daskworkergroups": "kubernetes.dask.org/v1",
    "deployments": "apps/v1",
    "events": "v1",
    "networkpolicies": "networking.k8s.io/v1",
    "nodes": "v1",
    "pods": "v1",
    "secrets": "v1",
    "services": "v1",
}
"""What is asked for, and in which version of the API."""

CALL_TIMEOUT_S = 10.0
"""An answer that takes longer counts as none."""

_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_REPLACES = 3
_MESSAGE_BYTES = 2**24  # of a WebSocket, at most
_CLUSTER_WIDE = {"nodes"}
_VERBS = {"POST": "create", "GET": "get", "PATCH": "patch", "DELETE": "delete"}
_MERGE = {"content-type": "application/merge-patch+json"}


def namespace_of_this_pod() -> str | None:
    """Return the namespace of the pod that this runs in; None if it is none."""
    try:
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return None


class KubernetesApi:
    """A connection to an API server and one namespace there.

    Parameters
    ----------
    namespace : str, optional
        By default that of the kubeconfig's context, or of the pod that this runs in.
    kubeconfig : str, optional
        A file; by default ``KUBECONFIG``, ``~/.kube/config``, else the pod's service account.
    context : str, optional
        A context of it; by default its current one.
    patience_s : float
        How long a server that doesn't answer is asked again; `create` and `delete` take another.

    Raises
    ------
    ClusterUnreachableError
        There is no kubeconfig, or no server answers.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        patience_s: float = 5.0,
    ) -> None:
        self.patience_s = patience_s
        self._api: Any = None
        self.namespace = namespace or ""
        self._forwards: dict[int, ForwardedPort] = {}
        # What is tried again shows in `Workflow.notes`, where it lasts.
        logging.getLogger("stamina").setLevel(logging.ERROR)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="fitcast-kubernetes", daemon=True
        )
        self._thread.start()
        try:
            self._call(self._connect(namespace, kubeconfig, context))
        except BaseException:
            self.close()
            raise

    # -- objects ---------------------------------------------------------------------------------

    def create(
        self,
        kind: str,
        body: Object,
        *,
        patience_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> Object:
        """Create an object; one of this name that is there already is returned as it is.

        Once `stop` is set, a server that doesn't answer isn't asked again.
        """
        with suppress(_ExistsError):
            return self._ask("POST", kind, patience_s=patience_s, stop=stop, json=body)
        known = self.get(kind, body["metadata"]["name"])
        return known if known is not None else self._ask("POST", kind, json=body)

    def replace(
        self,
        kind: str,
        body: Object,
        *,
        patience_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Create an object in the place of one of this name, without the right to read either.

        What is there belongs to a cluster that is gone, and would go with it.
        """
        for _ in range(_REPLACES):
            with suppress(_ExistsError):
                self._ask("POST", kind, patience_s=patience_s, stop=stop, json=body)
                return
            self.delete(kind, body["metadata"]["name"], patience_s=patience_s)
        raise ClusterError(
            f"{kind} {body['metadata']['name']!r} of namespace {self.namespace!r} comes back "
            "whenever it is deleted; delete it with kubectl, and submit again"
        )

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object; None if there is none."""
        try:
            return self._ask("GET", kind, name)
        except _MissingError:
            return None

    def find(
        self,
        kind: str,
        labels: Mapping[str, str] | None = None,
        *,
        within_s: float | None = None,
    ) -> list[Object]:
        """Return the objects that have these labels, or fail within a time."""
        selector = ",".join(f"{name}={value}" for name, value in (labels or {}).items())
        params = {"labelSelector": selector} if selector else {}
        found: list[Object] = self._ask("GET", kind, within_s=within_s, params=params)["items"]
        return found

    def patch(self, kind: str, name: str, body: Object) -> Object:
        """Change some of an object's fields (a merge patch)."""
        return self._ask("PATCH", kind, name, json=body, headers=_MERGE)

    def delete(self, kind: str, name: str, *, patience_s: float | None = None) -> bool:
        """Delete an object and all that it owns; False if there is none."""
        how = {"propagationPolicy": "Background"}
        try:
            self._ask("DELETE", kind, name, patience_s=patience_s, json=how)
        except _MissingError:
            return False
        return True

    def has_kind(self, kind: str) -> bool:
        """Tell whether the server knows a kind, which custom resources need not be."""
        group = VERSIONS[kind]
        asked = self._request("GET", kind, f"/apis/{group}", {}, self.patience_s)
        try:
            found = self._call(asked)
        except _MissingError:
            return False
        return any(one["name"] == kind for one in found["resources"])

    def warnings_of(self, pod: str) -> list[str]:
        """Return the cluster's warnings about a pod, the latest last."""
        selected = {"fieldSelector": f"involvedObject.name={pod},type=Warning"}
        said: list[Object] = self._ask("GET", "events", params=selected)["items"]
        said.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return [f"{event.get('reason')}: {event.get('message')}" for event in said]

    # -- from outside ----------------------------------------------------------------------------

    def forward(self, pod: str, port: int) -> int:
        """Forward a port of this machine's loopback to one of a pod; return its number.

        Raises
        ------
        ClusterError
            There is no such pod, or it may not be reached.
        """
        connect = partial(
            self._api.open_websocket,
            version="",
            base="/api/v1",
            url=f"namespaces/{self.namespace}/pods/{pod}/portforward",
            params={"ports": str(port)},
            subprotocols=["v4.channel.k8s.io"],
            max_message_size_bytes=_MESSAGE_BYTES,
        )
        forward = ForwardedPort(connect)
        started = _translated(forward.start(), "get", "pods/portforward", self.namespace)
        number: int = self._call(started)
        self._forwards[number] = forward
        return number

    def forward_trouble(self, local_port: int) -> str:
        """Return why connections to a forwarded port fail; empty if none did."""
        return self._forwards[local_port].trouble

    def end_forward(self, local_port: int) -> None:
        """Forward a port no longer."""
        forward = self._forwards.pop(local_port, None)
        if forward is not None:
            with suppress(ClusterError):
                self._call(forward.stop())

    def close(self) -> None:
        """Close all connections."""
        for port in list(self._forwards):
            self.end_forward(port)
        if self._loop.is_running():
            with suppress(Exception):
                self._call(self._disconnect())
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._loop.is_running():
            self._loop.close()

    # -- behind the scenes -----------------------------------------------------------------------

    async def _connect(
        self, namespace: str | None, kubeconfig: str | None, context: str | None
    ) -> None:
        try:
            self._api = await kr8s.asyncio.api(
                kubeconfig=kubeconfig, namespace=namespace, context=context
            )
        except (ValueError, FileNotFoundError, KeyError) as error:
            raise ClusterUnreachableError(
                f"no Kubernetes cluster is configured ({error}): set KUBECONFIG to a kubeconfig "
                "file, or run inside a cluster"
            ) from error
        except (httpx.TransportError, kr8s.APITimeoutError, kr8s.ServerError, OSError) as error:
            raise ClusterUnreachableError(
                f"the Kubernetes API doesn't answer ({error}): check KUBECONFIG, the context in it "
                "and the network, for example with 'kubectl version'"
            ) from error
        self._api.timeout = CALL_TIMEOUT_S
        # kr8s takes "default" where a service account is all that it has.
        own = None if self._api.auth.active_context else namespace_of_this_pod()
        self.namespace = namespace or own or str(self._api.namespace)

    async def _disconnect(self) -> None:
        session = getattr(self._api, "_session", None)
        if session is not None:
            await session.aclose()

    def _ask(
        self,
        method: str,
        kind: str,
        name: str = "",
        *,
        patience_s: float | None = None,
        within_s: float | None = None,
        stop: threading.Event | None = None,
        **given: Any,
    ) -> Object:
        """Ask again for as long as the server is away and patience lasts, `within_s` in all."""
        scope = "" if kind in _CLUSTER_WIDE else f"/namespaces/{self.namespace}"
        root = "/api" if VERSIONS[kind] == "v1" else "/apis"
        path = f"{root}/{VERSIONS[kind]}{scope}/{kind}" + (f"/{name}" if name else "")
        if patience_s is None:
            patience_s = self.patience_s if within_s is None else within_s
        request = self._request(method, kind, path, given, patience_s, stop)
        limit_s = patience_s + 2 * CALL_TIMEOUT_S if within_s is None else within_s
        answer: Object = self._call(request, limit_s)
        return answer

    async def _request(
        self,
        method: str,
        kind: str,
        path: str,
        given: Object,
        patience_s: float,
        stop: threading.Event | None = None,
    ) -> Object:
        verb = "list" if method == "GET" and path.endswith(kind) else _VERBS[method]

        async def once() -> Object:
            base, _, url = path[1:].partition("/")
            call = self._api.call_api(method, version="", base=f"/{base}", url=url, **given)
            async with call as response:
                answer: Object = response.json()
            return answer

        def may_resolve(error: Exception) -> bool:
            stopped = stop is not None and stop.is_set()
            return isinstance(error, ClusterUnreachableError) and not stopped

        tries = stamina.retry_context(
            on=may_resolve, attempts=None, timeout=patience_s, wait_max=2.0
        )
        async for attempt in tries:
            with attempt:
                found: Object = await _translated(once(), verb, kind, self.namespace)
                return found
        raise AssertionError("stamina raises the last error")

    def _call(self, coroutine: Coroutine[Any, Any, Any], within_s: float | None = None) -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        limit_s = self.patience_s + 2 * CALL_TIMEOUT_S if within_s is None else within_s
        try:
            return future.result(limit_s)
        except TimeoutError as error:
            future.cancel()
            raise ClusterUnreachableError(
                f"the Kubernetes API gave no answer within {limit_s:.1f} s"
            ) from error


class _MissingError(ClusterError):
    """There is no such object."""


class _ExistsError(ClusterError):
    """There is one of this name."""


async def _translated(call: Coroutine[Any, Any, Any], verb: str, kind: str, namespace: str) -> Any:
    """Await a call; what goes wrong is raised as an error of ours."""
    try:
        return await call
    except kr8s.ServerError as error:
        code = error.response.status_code if error.response is not None else 500
        raise _refusal(code, str(error), f"{verb} {kind}", namespace) from error
    except WebSocketUpgradeError as error:
        response = error.response
        said = f"{response.status_code} {response.reason_phrase}"
        raise _refusal(response.status_code, said, f"{verb} {kind}", namespace) from error
    except kr8s.NotFoundError as error:
        raise _MissingError(str(error)) from error
    except (httpx.TransportError, HTTPXWSException, kr8s.APITimeoutError, OSError) as error:
        raise ClusterUnreachableError(
            f"the Kubernetes API doesn't answer ({type(error).__name__}: {error})"
        ) from error


def _refusal(code: int, said: str, what: str, namespace: str) -> ClusterError:
    """Return the error of ours for a status code of HTTP."""
    if code == 404:
        return _MissingError(said)
    if code == 409:
        return _ExistsError(said)
    if code == 403 and "exceeded quota" in said:
        return ClusterQuotaError(f"the namespace's quota is used up: {said}")
    if code in (401, 403):
        return ClusterAccessError(
            f"you may not {what} in namespace {namespace!r}: {said}. Ask for the Role that deploy/ "
            "lists, or choose another namespace."
        )
    if code in (429, 500, 502, 503, 504):
        return ClusterUnreachableError(f"the Kubernetes API can't do it now: {said}")
    if code in (400, 422):
        return ClusterRejectedError(f"the Kubernetes API can't {what}, as it isn't valid: {said}")
    return ClusterError(f"the Kubernetes API refused to {what}: {said}")

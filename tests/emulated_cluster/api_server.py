"""The API server of an emulated cluster: discovery, objects, patches, watches, pods' ports.

What clients of this project, kr8s and kopf ask for, and no more.
"""

import asyncio
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from aiohttp import WSMsgType, web

from tests.emulated_cluster.rights import Rules, allows
from tests.emulated_cluster.schemas import rejections
from tests.emulated_cluster.store import Kind, Object, RefusedError, Store


class ApiServer:
    """Serves a store.

    Parameters
    ----------
    store : Store
        What is served.
    rights : mapping
        What may be done by whoever has a token.
    """

    def __init__(self, store: Store, rights: Mapping[str, Rules]) -> None:
        self.store = store
        self._rights = rights
        self.port = 0
        self.requests = 0  # how many there were
        self.used: dict[str, set[tuple[str, str, str]]] = {}  # by user: verb, group, resource
        self.denied: set[tuple[str, str]] = set()  # verb, resource
        self._forwards: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        """Be away; connections are cut."""
        if self._runner is not None:
            self.store.cut_watches()
            await self._runner.cleanup()
            self._runner = None

    async def cut_forwards(self) -> None:
        """End the connections that go through forwarded ports."""
        for socket in list(self._forwards):
            await socket.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        try:
            return await self._answer(request, [p for p in request.path.split("/") if p])
        except RefusedError as error:
            return web.json_response(
                {
                    "apiVersion": "v1",
                    "kind": "Status",
                    "status": "Failure",
                    "message": str(error),
                    "reason": error.reason,
                    "code": error.code,
                },
                status=error.code,
            )

    async def _answer(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        if parts == ["version"]:
            return web.json_response({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
        found = self._discovery(parts)
        if found is not None:
            return web.json_response(found)
        group, version, rest = _split(parts)
        namespace = ""
        if len(rest) >= 3 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        plural, name, sub = [*rest, "", "", ""][:3]
        kind = self.store.kinds.get(plural)
        if kind is None or (kind.group, kind.version) != (group, version):
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        self._check(request, kind, namespace, name, sub)
        if sub == "portforward":
            return await self._forward(request, self.store.get(plural, namespace, name))
        if request.method == "GET" and not name:
            return await self._list(request, kind, namespace)
        if request.method == "GET":
            return web.json_response(self.store.get(plural, namespace, name))
        given = await request.json() if request.can_read_body else {}
        if request.method == "POST":
            if kind.group == "kubernetes.dask.org" and (wrong := rejections(given)):
                said = f"{kind.kind} is invalid: {'; '.join(wrong)}"
                raise RefusedError(422, "Invalid", said)
            made = self.store.create(plural, namespace, given)
            return web.json_response(made, status=201)
        if request.method == "PATCH":
            body = deepcopy(self.store.get(plural, namespace, name))
            if request.content_type == "application/json-patch+json":
                for step in given:
                    _step(body, step)
            else:
                _merge(body, given)
            if sub == "status":
                before = deepcopy(self.store.get(plural, namespace, name))
                body = before | {"status": body.get("status", {})}
            return web.json_response(self.store.change(plural, namespace, name, body))
        if request.method == "PUT":
            return web.json_response(self.store.change(plural, namespace, name, given))
        if request.method == "DELETE":
            return web.json_response(self.store.delete(plural, namespace, name))
        raise RefusedError(405, "MethodNotAllowed", f"{request.method} isn't emulated")

    def _check(self, request: web.Request, kind: Kind, namespace: str, name: str, sub: str) -> None:
        verbs = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
        reads = "get" if name else "watch" if _watches(request) else "list"
        verb = verbs.get(request.method, reads)
        resource = f"{kind.plural}/{sub}" if sub else kind.plural
        user = request.headers.get("Authorization", "").removeprefix("Bearer ")
        # a WebSocket comes as GET, but newer servers want the right to create too
        verbs_asked = {verb, "create"} if sub == "portforward" else {verb}
        rules = self._rights.get(user, [])
        may = all(allows(rules, one, kind.group, resource) for one in verbs_asked)
        used = {(one, kind.group, resource) for one in verbs_asked}
        self.used.setdefault(user, set()).update(used)
        if not may or (verb, resource) in self.denied:
            raise RefusedError(
                403,
                "Forbidden",
                f'{resource} is forbidden: User "{user}" cannot {verb} resource "{resource}" in '
                f'API group "{kind.group}" in the namespace "{namespace}"',
            )

    def _discovery(self, parts: list[str]) -> Object | None:
        kinds = list(self.store.kinds.values())
        groups: dict[str, set[str]] = {}
        for kind in kinds:
            groups.setdefault(kind.group, set()).add(kind.version)
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            return {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(name, found) for name, found in groups.items() if name],
            }
        if parts == ["api", "v1"]:
            return _resources("v1", [kind for kind in kinds if not kind.group])
        if len(parts) == 3 and parts[0] == "apis":
            group, version = parts[1:]
            if version not in groups.get(group, ()):
                raise RefusedError(404, "NotFound", "404 page not found")
            mine = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
            return _resources(f"{group}/{version}", mine)
        if len(parts) == 2 and parts[0] == "apis" and parts[1] in groups:
            return _group(parts[1], groups[parts[1]])
        return None

    async def _list(self, request: web.Request, kind: Kind, namespace: str) -> web.StreamResponse:
        query = request.query
        if _watches(request):
            return await self._watch(request, kind, namespace)
        items = [
            one
            for one in self.store.find(kind.plural, namespace)
            if _selected(one, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        ]
        return web.json_response(
            {
                "apiVersion": kind.api_version,
                "kind": f"{kind.kind}List",
                "metadata": {"resourceVersion": str(self.store.version)},
                "items": items,
            }
        )

    async def _watch(self, request: web.Request, kind: Kind, namespace: str) -> web.StreamResponse:
        query = request.query
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        since = int(query.get("resourceVersion") or self.store.version)
        try:
            async with asyncio.timeout(float(query.get("timeoutSeconds", 300))):
                async for what, body in self.store.watch(kind.plural, since):
                    mine = namespace in ("", body["metadata"].get("namespace", ""))
                    if mine and _selected(body, query.get("labelSelector", ""), ""):
                        line = json.dumps({"type": what, "object": body}) + "\n"
                        await response.write(line.encode())
        except (TimeoutError, ConnectionError):
            pass
        return response

    async def _forward(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Forward a port as kr8s speaks it: a byte of channel before every message."""
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io", "portforward.k8s.io"))
        await socket.prepare(request)
        port = int(request.query["ports"])
        for channel in (b"\x00", b"\x01"):
            await socket.send_bytes(channel + port.to_bytes(2, "little"))
        try:
            reader, writer = await asyncio.open_connection(pod["status"]["podIP"], port)
        except OSError as error:
            await socket.send_bytes(b"\x01" + str(error).encode())
            await socket.close()
            return socket

        async def answers() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(b"\x00" + data)
            await socket.close()

        task = asyncio.create_task(answers())
        self._forwards.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY and message.data[:1] == b"\x00":
                    writer.write(message.data[1:])
                    await writer.drain()
        finally:
            self._forwards.discard(socket)
            task.cancel()
            writer.close()
        return socket


def _watches(request: web.Request) -> bool:
    return request.query.get("watch") in ("true", "1", "True")


def _split(parts: list[str]) -> tuple[str, str, list[str]]:
    if parts[:2] == ["api", "v1"]:
        return "", "v1", parts[2:]
    if len(parts) > 3 and parts[0] == "apis":
        return parts[1], parts[2], parts[3:]
    raise RefusedError(404, "NotFound", "404 page not found")


def _group(name: str, versions: set[str]) -> Object:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0], "kind": "APIGroup"}


def _resources(api_version: str, kinds: list[Kind]) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    found = []
    for kind in kinds:
        common = {"namespaced": kind.namespaced, "kind": kind.kind, "singularName": ""}
        singular = {"singularName": kind.kind.lower()}
        found.append(common | singular | {"name": kind.plural, "verbs": verbs})
        for sub in kind.subresources:
            found.append(common | {"name": f"{kind.plural}/{sub}", "verbs": ["get", "patch"]})
    return {"kind": "APIResourceList", "groupVersion": api_version, "resources": found}


def _selected(one: Object, labels: str, fields: str) -> bool:
    has: Mapping[str, str] = one["metadata"].get("labels", {})
    for term in filter(None, labels.split(",")):
        name, _, value = term.partition("=")
        value = value.removeprefix("=")
        if name.endswith("!"):
            if has.get(name[:-1]) == value:
                return False
        elif ("=" in term and has.get(name) != value) or name not in has:
            return False
    for term in filter(None, fields.split(",")):
        path, _, value = term.partition("=")
        found: Any = one
        for key in path.split("."):
            found = found.get(key, {}) if isinstance(found, dict) else {}
        if found != value.removeprefix("="):
            return False
    return True


def _merge(body: Object, change: Object) -> None:
    for key, value in change.items():
        if value is None:
            body.pop(key, None)
        elif isinstance(value, dict) and isinstance(body.get(key), dict):
            _merge(body[key], value)
        else:
            body[key] = value


def _step(body: Any, step: Object) -> None:
    """Carry out one step of a JSON patch."""
    *path, last = (p.replace("~1", "/").replace("~0", "~") for p in step["path"][1:].split("/"))
    at = body
    for key in path:
        at = at[int(key)] if isinstance(at, list) else at[key]
    match step["op"]:
        case "add" if isinstance(at, list):
            at.insert(len(at) if last == "-" else int(last), step["value"])
        case "add" | "replace":
            at[int(last) if isinstance(at, list) else last] = step["value"]
        case "remove":
            del at[int(last) if isinstance(at, list) else last]
        case "test":
            if at.get(last) != step["value"]:
                raise RefusedError(422, "Invalid", "the server rejected our request")

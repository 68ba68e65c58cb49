"""What another local user can get at: run as that user, with the standard library alone.

Reads ``{"folders": [...], "processes": [...], "ports": [...], "secrets": [hex, ...]}`` from its
standard input and prints every success: a secret seen, a file written, an answer to a stranger.
Looks and connects only; changes nothing that isn't its own.
"""

import json
import os
import socket
import ssl
import sys
from pathlib import Path


def main():
    told = json.load(sys.stdin)
    secrets = [bytes.fromhex(secret) for secret in told["secrets"]]
    got, tried = [], 0
    for folder in told["folders"]:
        for place, _, files in os.walk(folder, followlinks=True):
            tried += 1 + len(files)
            if place not in told["open"] and os.access(place, os.W_OK):
                got.append(f"may write into {place}")
            for name in files:
                got += _look(Path(place, name), secrets)
    for pid in told["processes"]:
        for name in ("environ", "mem", "maps", "fd", "cwd", "root", "exe", "io", "stack"):
            tried += 1
            got += _look_into(Path(f"/proc/{pid}/{name}"))
        line = Path(f"/proc/{pid}/cmdline").read_bytes()  # anybody may read that
        got += [f"a secret in the command line of {pid}" for s in secrets if s in line]
    for port in told["ports"]:
        tried += 2
        got += _speak(port)
    print(json.dumps({"got": sorted(set(got)), "tried": tried}))  # noqa: T201


def _look(path, secrets):
    try:
        content = path.read_bytes()
    except OSError:
        return []
    return [f"a secret in {path}" for secret in secrets if secret in content]


def _look_into(path):
    try:
        if path.is_symlink():
            return [f"{path} leads to {path.readlink()}"]
        if path.is_dir():
            return [f"{path} can be listed"] if list(path.iterdir()) else []
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        return []
    return [f"{path} can be read"]


def _speak(port):
    got = []
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            if plain.recv(4096).startswith(b"HTTP/1.0 200"):
                got.append(f"port {port} gives a page to anybody")
    except OSError:
        pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=3) as plain,
            context.wrap_socket(plain) as sealed,
        ):
            if sealed.recv(4096):  # refused clients are told so by an alert: an OSError
                got.append(f"port {port} speaks with a stranger")
    except OSError:
        pass
    return got


if __name__ == "__main__":
    main()

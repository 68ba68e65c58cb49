"""Tokens of an identity provider: what is taken, what isn't, and how often its keys are fetched."""

import base64
import json
import time

import httpx
import jwt
import pytest

from fitcast.errors import AuthenticationError, IdentityProviderError, InvalidInputError
from fitcast.scheduler.broker.identity_provider import IdentityProvider
from fitcast.scheduler.broker.settings import BrokerSettings
from tests.brokers import broker
from tests.identity_providers import AUDIENCE, identity_provider
from tests.polling import LONGEST_S


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture(scope="module")
def issuer():
    with identity_provider() as running:
        yield running


@pytest.fixture
def own_issuer():
    with identity_provider() as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def checking(own_issuer, clock):
    provider = IdentityProvider(own_issuer.url, AUDIENCE, clock_s=clock)
    yield provider
    provider.close()


def test_a_good_token_says_who_it_is(own_issuer, checking):
    identity = checking.identity(own_issuer.token("ann"))
    assert identity.name == "ann"
    assert identity.expires_at.timestamp() == pytest.approx(time.time() + 600, abs=5)
    lists = own_issuer.token("ann", aud=["other", AUDIENCE])
    assert checking.identity(lists).name == "ann"


NOW_S = time.time()
REFUSED = {
    "expired": ({"exp": NOW_S - 120}, "expired"),
    "issued tomorrow": ({"iat": NOW_S + 86_400}, "times"),
    "not yet good": ({"nbf": NOW_S + 86_400}, "times"),
    "another audience": ({"aud": "payroll"}, "isn't for 'fitcast'"),
    "no audience": ({"aud": None}, "'aud'"),
    "another issuer": ({"iss": "https://elsewhere.example"}, "isn't from"),
    "no issuer": ({"iss": None}, "'iss'"),
    "good for ever": ({"exp": None}, "'exp'"),
    "no time of issue": ({"iat": None}, "'iat'"),
    "nobody": ({"sub": None}, "'sub'"),
    "no text": ({"sub": ""}, "'sub'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_isn_t_good_is_refused(own_issuer, checking, case):
    changed, told = REFUSED[case]
    with pytest.raises(AuthenticationError, match=told):
        checking.identity(own_issuer.token("ann", **changed))


def test_the_algorithm_is_the_operators_never_the_tokens(own_issuer, checking):
    own_issuer.add_key("curve", "ES256")
    with pytest.raises(AuthenticationError, match="isn't signed by RS256"):
        checking.identity(own_issuer.token(key="curve"))
    unsigned = jwt.encode(own_issuer.claims(), None, "none", headers={"kid": "first"})
    with pytest.raises(AuthenticationError, match="isn't signed by RS256"):
        checking.identity(unsigned)
    by_password = jwt.encode(own_issuer.claims(), 64 * "x", "HS256", headers={"kid": "first"})
    with pytest.raises(AuthenticationError, match="isn't signed by RS256"):
        checking.identity(by_password)


def test_a_changed_token_is_refused(own_issuer, checking):
    head, body, signature = own_issuer.token("ann").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "boss"}).encode()).rstrip(b"=")
    for changed in (
        f"{head}.{forged.decode()}.{signature}",
        f"{head}.{body}.{signature[:-6]}AAAAAA",
        f"{head}.{body}.",
        "a.b.c",
        "..",
    ):
        with pytest.raises(AuthenticationError):
            checking.identity(changed)


def test_another_of_the_same_name_is_refused(own_issuer, checking):
    with identity_provider() as other, pytest.raises(AuthenticationError, match="signature"):
        checking.identity(other.token("ann", iss=own_issuer.url))


def test_new_keys_are_fetched_when_a_token_names_one(own_issuer, checking, clock):
    assert checking.identity(own_issuer.token()).name == "ann"
    asked = own_issuer.asked
    own_issuer.add_key("second")
    clock.now_s += 31
    assert checking.identity(own_issuer.token(key="second")).name == "ann"
    assert own_issuer.asked == asked + 2
    for number in range(20):  # made up, one by one: the issuer isn't bothered for each
        with pytest.raises(AuthenticationError, match="no such key"):
            checking.identity(own_issuer.token(headers={"kid": f"made-up-{number}"}))
    assert own_issuer.asked == asked + 2


def test_a_withdrawn_key_is_good_for_an_hour_at_most(own_issuer, checking, clock):
    token = own_issuer.token()
    assert checking.identity(token)
    own_issuer.add_key("second")
    del own_issuer.keys["first"]
    clock.now_s += 3500
    assert checking.identity(token)
    clock.now_s += 200
    with pytest.raises(AuthenticationError, match="no such key"):
        checking.identity(token)


def test_known_keys_outlast_an_issuer_that_is_away(own_issuer, checking, clock):
    assert checking.identity(own_issuer.token())
    own_issuer.is_away = True
    clock.now_s += 4000
    assert checking.identity(own_issuer.token()).name == "ann"


def test_without_keys_it_is_said_that_the_issuer_is_away(own_issuer, checking, clock):
    own_issuer.is_away = True
    for _ in range(2):
        with pytest.raises(IdentityProviderError, match="can't be had"):
            checking.identity(own_issuer.token())
    assert own_issuer.asked == 1  # and it isn't asked for each request
    own_issuer.is_away = False
    clock.now_s += 31
    assert checking.identity(own_issuer.token()).name == "ann"


def test_an_issuer_that_calls_itself_otherwise_is_none(own_issuer, checking):
    own_issuer.calls_itself = "https://elsewhere.example"
    with pytest.raises(IdentityProviderError, match="calls itself"):
        checking.identity(own_issuer.token())


def test_a_token_that_names_no_key_goes_by_the_only_one(own_issuer, checking, clock):
    assert checking.identity(own_issuer.token(headers={})).name == "ann"
    own_issuer.add_key("second")
    clock.now_s += 4000
    with pytest.raises(AuthenticationError, match="no such key"):
        checking.identity(own_issuer.token(headers={}))


@pytest.mark.parametrize("address", ["http://login.example", "file:///keys", "login.example", ""])
def test_keys_come_over_tls_alone(address):
    with pytest.raises(InvalidInputError, match="https"):
        IdentityProvider(address, AUDIENCE)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "rs256"])
def test_only_signatures_with_public_keys_are_taken(algorithm):
    with pytest.raises(InvalidInputError, match="RS256"):
        IdentityProvider("https://login.example", AUDIENCE, algorithm)


def test_issuer_and_audience_go_together():
    with pytest.raises(InvalidInputError, match="OIDC_AUDIENCE"):
        BrokerSettings(oidc_issuer="https://login.example")


@pytest.fixture(scope="module", params=[False, True], ids=["known users", "adds users"])
def there(request, issuer, tmp_path_factory):
    with broker(
        tmp_path_factory.mktemp("home"),
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_adds_users=request.param,
    ) as running:
        running.store.add_user("ann")
        running.store.add_user("boss", is_admin=True)
        yield running, request.param


def _asked(running, token, path="/v1/workflows"):
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{running.url}{path}", headers=headers, timeout=LONGEST_S)


def test_the_platform_takes_both_kinds_of_tokens(there, issuer):
    running, _ = there
    assert _asked(running, issuer.token("ann")).status_code == 200
    assert _asked(running, running.token("ann")).status_code == 200
    refused = _asked(running, issuer.token("ann", aud="payroll"))
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "not_authenticated"
    assert issuer.token("ann") not in refused.text


def test_whom_it_does_not_know(there, issuer):
    running, adds = there
    answer = _asked(running, issuer.token("new.one@example.org"))
    assert answer.status_code == (200 if adds else 401)
    names = {user.name for user in running.store.users()}
    assert ("new.one@example.org" in names) is adds
    if not adds:
        assert "fitcast user add" in answer.text
    odd = _asked(running, issuer.token("no name/../at all"))
    assert odd.status_code == 401


def test_it_makes_nobody_an_administrator(there, issuer):
    running, _ = there
    assert _asked(running, issuer.token("boss", scope="admin"), "/v1/users").status_code == 403
    assert _asked(running, running.token("boss", "admin"), "/v1/users").status_code == 200


def test_who_is_disabled_stays_out(there, issuer):
    running, _ = there
    running.store.add_user("gone")
    running.store.disable_user("gone")
    assert _asked(running, issuer.token("gone")).status_code == 401


def test_a_long_token_is_no_failure(there, issuer):
    running, _ = there
    assert _asked(running, issuer.token("ann", groups=["g" * 50] * 100)).status_code == 200
    assert _asked(running, "a.b." + 20_000 * "x").status_code == 401

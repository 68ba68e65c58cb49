"""The status page as a browser shows it, to two users who see nothing of one another.

Needs Debian's chromium. Without it the tests are skipped; ``.ci/run`` installs it where it may.
"""

import pytest

from fitcast import Client
from tests.brokers import broker
from tests.browser import CHROMIUM, NO_CHROMIUM, browser
from tests.gated import FITS, sweep

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
    pytest.mark.timeout(400),  # chromium beside fits on two cores
]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
OTHERS = "churn of the northern branches"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home"), running_per_user=1) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


def signed_in(chromium, there, token, **screen):
    page = chromium.page(**screen)
    page.go(there.url + "/")
    assert page.value("document.querySelector('label[for=token]').innerText") == "Token"
    page.value(f"document.getElementById('token').value = {token!r}; document.forms[0].submit()")
    page.wait("document.getElementById('live')?.classList.contains('on')")
    return page


def rows(place):
    return f"[...document.querySelectorAll('#{place} tbody tr')]"


def test_two_users_watch_their_own_workflows_live(there, chromium, tmp_path):
    gate = tmp_path / "gate"
    tokens = {name: there.token(name) for name in ("anna", "berta")}
    boss = there.token("boss", "read", "admin", is_admin=True)
    clients = {
        name: Client(there.url, token=token, home=tmp_path / name) for name, token in tokens.items()
    }
    try:
        pages = {name: signed_in(chromium, there, token) for name, token in tokens.items()}
        pages["boss"] = signed_in(chromium, there, boss)
        pages["anna"].wait_for_text("Nothing of yours runs.")
        searches = [sweep(gate, free=1), sweep(gate), sweep(gate)]
        for search, name in zip(searches, (HOSTILE, "second", OTHERS), strict=True):
            search.name = name
        workflows = [clients["anna"].submit(searches[0])]
        # nobody asked for it anew: it comes by itself, with the fits that are done
        done = f"{rows('running')}.some((row) => row.innerText.includes('2 of {FITS}'))"
        pages["anna"].wait(done)
        workflows.append(clients["anna"].submit(searches[1]))
        workflows.append(clients["berta"].submit(searches[2]))
        pages["anna"].wait(f"{rows('queue')}.some((row) => row.innerText.includes('1 of 1'))")
        pages["berta"].wait(f"{rows('running')}.length === 1")
        pages["boss"].wait(f"{rows('running')}.length === 2 && {rows('queue')}.length === 1")
        texts = {name: page.text() for name, page in pages.items()}
        assert HOSTILE in texts["anna"]  # as text, to the letter
        assert OTHERS not in texts["anna"]
        assert "berta" not in texts["anna"]
        assert OTHERS in texts["berta"]
        assert "second" not in texts["berta"]
        assert "anna" not in texts["berta"]
        for told in (HOSTILE, "second", OTHERS, "anna", "berta"):
            assert told in texts["boss"]
        # bars are drawn, and read aloud
        drawn = "document.querySelector('#running .bar .band').getBoundingClientRect().width"
        assert pages["anna"].value(drawn) > 0
        read = "document.querySelector('#running [role=progressbar]').getAttribute('aria-valuenow')"
        assert pages["anna"].value(read) == str(round(100 * 2 / FITS))
        gate.touch()
        for workflow in workflows:
            workflow.result()
        pages["anna"].wait(
            f"{rows('ended')}.filter((row) => row.innerText.includes('succeeded')).length === 2"
        )
        pages["boss"].wait(f"{rows('ended')}.length === 3 && {rows('running')}.length === 0")
        for page in pages.values():
            assert page.value("document.title") == "Status · fitcast"
            assert page.troubles() == []
            assert all(address.startswith(there.url) for address in page.requested())
    finally:
        gate.touch()
        for client in clients.values():
            client.close()


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_telephone_and_both_schemes(there, chromium, dark):
    page = signed_in(chromium, there, there.token("carla"), width=360, height=700, dark=dark)
    page.wait_for_text("Nothing of yours runs.")
    page.wait(f"{rows('pools')}.length === 1")
    assert page.value("document.documentElement.scrollWidth") <= 360
    ground = page.value("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground.strip("rgb()").split(","))
    assert (brightness < 200) is dark
    assert page.troubles() == []


def test_tables_and_forms_are_named(there, chromium):
    page = signed_in(chromium, there, there.token("carla"))
    page.wait(f"{rows('pools')}.length === 1")
    heads = page.value("[...document.querySelectorAll('th')].map((head) => head.scope)")
    assert set(heads) == {"col", "row"}
    unnamed = page.value(
        "[...document.querySelectorAll('section')].filter((one) => "
        "!document.getElementById(one.getAttribute('aria-labelledby'))?.innerText).length"
    )
    assert unnamed == 0
    assert page.value("document.documentElement.lang") == "en"
    assert page.value("document.querySelector('#live').getAttribute('role')") == "status"


def test_signing_out_leads_back_to_the_form(there, chromium):
    page = signed_in(chromium, there, there.token("carla"))
    page.value("document.getElementById('sign-out').click()")
    page.wait_for_text("fitcast token create")
    page.go(f"{there.url}/v1/status")
    assert "not_authenticated" in page.text()


def test_a_token_that_is_revoked_leads_back_to_the_form(there, chromium):
    token, secret = there.store.create_token("carla", "short", ("read",))
    page = signed_in(chromium, there, secret)
    there.store.revoke_token(token.token_id)
    page.value("void ask()")
    page.wait_for_text("fitcast token create")


def test_the_description_of_the_api_needs_nothing_from_elsewhere(there, chromium):
    page = chromium.page()
    page.go(f"{there.url}/docs")
    page.wait("document.querySelectorAll('.opblock').length > 15")
    assert "/v1/workflows/{workflow_id}/events" in page.text().replace("\u200b", "")
    assert page.troubles() == []
    addresses = page.requested()
    assert len(addresses) > 3
    assert all(one.startswith((there.url, "data:")) for one in addresses)

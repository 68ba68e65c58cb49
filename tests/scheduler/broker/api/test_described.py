"""Every operation of the API's description, with data as described and data that isn't.

Schemathesis makes the requests and holds the answers against the description: no failure of the
platform, no status, type or document that isn't described. Beside it, that every refusal is ours.
"""

import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fitcast import Client
from tests.brokers import broker
from tests.gated import sweep
from tests.polling import LONGEST_S
from tests.scheduler.broker.announcements import announced

EXAMPLES = 8  # of each operation, with each kind of data
LAST = ("cancel", "DELETE")
NOTHING_ASKED = ("GET /healthz", "GET /readyz", "DELETE /session")
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
)
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")

BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def there(request, tmp_path_factory):
    chosen = {}
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        name = server.new_database(request.getfixturevalue("postgres_template"))
        chosen["database"] = server.url(name)
    home = tmp_path_factory.mktemp("home")
    # as if it ended all the time: nobody is kept waiting, streams of events end at once
    with broker(home, is_ending=lambda: True, **chosen) as running:
        yield running


@pytest.fixture(scope="module")
def token(there):
    return there.token("ann")


@pytest.fixture(scope="module")
def workflow_ids(there, token, tmp_path_factory):
    """Workflows of the caller's: one that is over, one that is being uploaded."""
    with Client(there.url, token=token, home=tmp_path_factory.mktemp("client")) as client:
        over = client.submit(sweep()).wait(LONGEST_S)
        assert over.state == "succeeded"
    body = announced(sweep().prepare())
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
    answer = httpx.post(f"{there.url}/v1/workflows", json=body, headers=headers, timeout=60.0)
    assert answer.status_code == 201, answer.text
    return [over.id, body["workflow_id"]]


def operations(schema):
    found = [one.ok() for one in schema.get_all_operations()]
    return sorted(found, key=lambda one: any(last in one.label for last in LAST))


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_as_they_are_described(there, token, workflow_ids, mode):
    schema = schemathesis.openapi.from_url(f"{there.url}/openapi.json")
    schema.config.generation.update(allow_extra_parameters=False)  # they are let be, as usual
    tried, wrong = 0, []
    for operation in operations(schema):
        try:
            strategy = operation.as_strategy(generation_mode=mode)
            tried += _try(operation, strategy, token, workflow_ids)
        except Unsatisfiable:
            # what takes nothing can be given nothing wrong
            assert mode is GenerationMode.NEGATIVE
            assert operation.label in NOTHING_ASKED
        except (Exception, BaseExceptionGroup) as error:
            wrong.append(f"{operation.label}: {error}")
    assert not wrong, "\n\n".join(wrong)
    assert tried > 4 * EXAMPLES


def _try(operation, strategy, token, workflow_ids):
    count = 0

    @BOUNDED
    @given(case=strategy, workflow_id=st.sampled_from([None, *workflow_ids]))
    def tried(case, workflow_id):
        nonlocal count
        wrong = {where for where, made in case.meta.components.items() if made.mode.is_negative}
        wrong.discard(ParameterLocation.HEADER)  # it may be the token, which is given here
        if workflow_id is not None and "workflow_id" in (case.path_parameters or {}):
            case.path_parameters["workflow_id"] = workflow_id
            wrong.discard(ParameterLocation.PATH)
        answer = case.call(headers={"Authorization": f"Bearer {token}"})
        # a form that is refused leads back to the page that has it
        is_wrong = wrong and answer.status_code != 303
        left_out = [] if is_wrong else [negative_data_rejection]
        case.validate_response(answer, checks=CHECKS, excluded_checks=left_out)
        count += 1
        for inner in ("/home/", "/tmp/", "psycopg", "sqlite"):  # where its things lie
            assert inner not in answer.text
        if answer.status_code >= 400 and "html" not in answer.headers["content-type"][0]:
            _check_refusal(answer)

    tried()
    return count  # as many as were answered


def _check_refusal(answer):
    told = json.loads(answer.content)["error"]
    assert set(told) == {"code", "type", "message"}
    assert told["code"].replace("_", "").isalpha()
    assert told["code"] not in ("http", "internal", "refused")
    assert told["message"]


def test_every_operation_describes_its_answers(there):
    told = httpx.get(f"{there.url}/openapi.json").json()
    assert "HTTPValidationError" not in told["components"]["schemas"]  # errors are ours alone
    for path, methods in told["paths"].items():
        for method, route in methods.items():
            good = [code for code in route["responses"] if code < "400"]
            assert good, (method, path)
            for code in good:
                content = route["responses"][code].get("content", {})
                schemas = [one.get("schema") for one in content.values()]
                assert all(schemas), (method, path, code)

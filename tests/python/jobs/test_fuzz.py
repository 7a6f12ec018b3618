"""Whatever its own OpenAPI document allows, and much that it does not, gets an answer, and never a 5xx."""

import os
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from live import Live

EXAMPLES = int(os.environ.get("SFBATCH_TEST_EXAMPLES", "4"))


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """A server that may lose everything it has."""
    server = Live(tmp_path_factory.mktemp("fuzz")).start()
    server.add_command("sh", "/bin/sh", cluster="local")
    yield server
    server.stop()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=strategies.data())
def ask(server, operation, seen, data):
    case = data.draw(operation.as_strategy())
    answer = case.call(base_url=server.url, headers={"Authorization": f"Bearer {server.token}"}, timeout=30)
    seen[answer.status_code] += 1
    assert answer.status_code < 500, f"{case.as_curl_command()}\n{answer.text}"


def test_no_request_breaks_the_server(victim):
    document = victim.api.get(f"{victim.url}/openapi.json", timeout=60).json()
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    seen = Counter()
    for operation in operations:
        ask(victim, operation, seen)
    print(len(operations), "operations", sorted(seen.items()))
    assert len(operations) > 60
    assert {200, 404, 412} <= set(seen)
    assert victim.get("jobs").status_code == 200

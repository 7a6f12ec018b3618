"""One service of EMR for each test, simulated by moto."""

import pytest
from aws import BUCKET, CLIENTS, KEYS, REGION, Kind
from moto import mock_aws


@pytest.fixture(autouse=True, scope="module")
def aws():
    """Shared, since making a client takes longer than a test; every test has a cluster of its own."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in KEYS.items():
            patch.setenv(name, value)
        CLIENTS.get("s3", REGION).create_bucket(Bucket=BUCKET)
        yield


@pytest.fixture(params=["steps", "serverless"])
def kind(request, tmp_path):
    return Kind(request.param, tmp_path)


@pytest.fixture
def steps(tmp_path):
    return Kind("steps", tmp_path)


@pytest.fixture
def serverless(tmp_path):
    return Kind("serverless", tmp_path)

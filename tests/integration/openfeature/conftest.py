"""A client and its OpenFeature provider on a real Valkey, and an SDK that forgets after each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from redis import Redis

from recovery.client import RecoveryClient
from recovery.client.openfeature import RecoveryProvider
from recovery.degrade import RedisDegradations


@pytest.fixture(autouse=True)
def clean_api() -> Iterator[None]:
    yield
    api.shutdown()


@pytest.fixture
def recovery(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[RecoveryClient]:
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        yield client


@pytest.fixture
def flags(recovery: RecoveryClient) -> OpenFeatureClient:
    api.set_provider_and_wait(RecoveryProvider(recovery))
    return api.get_client()


@pytest.fixture
def degradations(redis_client: Redis) -> RedisDegradations:
    return RedisDegradations(redis_client)

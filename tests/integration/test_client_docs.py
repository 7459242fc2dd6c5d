"""The code in the client's documentation runs as written."""

import re
from pathlib import Path

import pytest
from redis import Redis

from recovery.models import Failure

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in ("client", "circuit-breaker", "degradation")
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_example_runs(block: str, valkey_url: str, redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_REDIS_URL", valkey_url)
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(tmp_path))

    exec(compile(block, "docs", "exec"), {"__name__": "docs"})


def test_the_message_for_other_languages_is_a_failure() -> None:
    (message,) = re.findall(r"^XADD recovery:reports .* failure '(.*)'$", (DOCS / "client.md").read_text(), re.MULTILINE)

    assert Failure.model_validate_json(message).service == "payments"

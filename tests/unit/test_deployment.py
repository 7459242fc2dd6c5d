"""docker-compose.yml and the Dockerfile keep what the README promises about them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import celeryconfig

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = {name: service for name, service in SERVICES.items() if name.startswith("worker-")}
OURS = WORKERS | {name: SERVICES[name] for name in ("beat", "flower")}


def option(service: dict[str, Any], name: str) -> str:
    command: list[str] = service["command"]
    return command[command.index(name) + 1]


def test_every_queue_has_exactly_one_worker_service() -> None:
    read = [queue for service in WORKERS.values() for queue in option(service, "-Q").split(",")]

    assert sorted(read) == sorted(celeryconfig.QUEUES)


def test_beat_runs_once() -> None:
    beats = [name for name, service in SERVICES.items() if "beat" in service.get("command", [])]

    assert beats == ["beat"]
    assert "--beat" not in TEXT
    assert " -B" not in TEXT


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]

    assert service["healthcheck"]["test"]
    assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", [*WORKERS, "beat"])
def test_a_health_check_asks_the_very_node_that_the_command_starts(name: str) -> None:
    service = SERVICES[name]
    node = option(service, "-n").removesuffix("@%h")

    assert f"inspect ping -d {node}@$$HOSTNAME" in service["healthcheck"]["test"][1]


def test_node_names_differ() -> None:
    nodes = [option(service, "-n") for name, service in OURS.items() if name != "flower"]

    assert len(set(nodes)) == len(nodes)


@pytest.mark.parametrize("name", OURS)
def test_a_stop_is_a_soft_shutdown_with_time_to_finish(name: str) -> None:
    service = SERVICES[name]
    grace = float(service["stop_grace_period"].removesuffix("s"))

    assert service["environment"]["REMAP_SIGTERM"] == "SIGQUIT"
    assert grace >= 2 * celeryconfig.worker_soft_shutdown_timeout
    assert service["init"] is True


@pytest.mark.parametrize("name", OURS)
def test_parts_wait_for_their_stores_and_cannot_change_the_configuration(name: str) -> None:
    service = SERVICES[name]
    mounts = [volume for volume in service["volumes"] if isinstance(volume, dict)]

    assert {store: wish["condition"] for store, wish in service["depends_on"].items()} == dict.fromkeys(
        ["valkey", "postgres"], "service_healthy"
    )
    assert [(mount["target"], mount["read_only"]) for mount in mounts] == [("/etc/recovery", True)]


def test_only_flower_is_published_and_only_on_the_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"flower": ["127.0.0.1:5555:5555"]}
    assert not any("network_mode" in service for service in SERVICES.values())


def test_flower_has_a_password_and_only_shows() -> None:
    flower = SERVICES["flower"]

    assert re.fullmatch(r"\$\{FLOWER_USER:\?[^}]+\}:\$\{FLOWER_PASSWORD:\?[^}]+\}", flower["environment"]["FLOWER_BASIC_AUTH"])
    assert "FLOWER_UNAUTHENTICATED_API" not in TEXT
    assert "--read_only" in flower["command"]
    assert "--max_tasks=10000" in flower["command"]


def test_no_password_stands_in_the_file_and_none_has_a_default() -> None:
    secrets = [value for service in SERVICES.values() for key, value in service.get("environment", {}).items() if "PASSWORD" in key]

    assert secrets
    assert all(re.fullmatch(r"\$\{\w+:\?[^}]+\}", value) for value in secrets)
    assert not re.search(r"://[^/\s:]+:[^@\s]+@", TEXT), "a URL carries a password"


def test_valkey_keeps_what_it_took_and_never_evicts() -> None:
    valkey = SERVICES["valkey"]

    assert option(valkey, "--appendonly") == "yes"
    assert option(valkey, "--maxmemory-policy") == "noeviction"
    assert valkey["volumes"] == ["valkey-data:/data"]


def test_every_named_volume_is_declared_and_used() -> None:
    named = {volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"] if isinstance(volume, str)}

    assert named == set(COMPOSE["volumes"])


def test_the_image_is_built_from_hashes_and_runs_without_rights() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]

    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    assert "USER recovery" in last_stage
    assert last_stage.index("USER recovery") < next(i for i, line in enumerate(last_stage) if line.startswith("CMD"))


def test_what_the_image_copies_is_let_through_and_exists() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }

    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_pins_by_hash_and_names_no_host_and_no_path(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    pins = [i for i, line in enumerate(lines) if re.match(r"[a-z0-9]", line)]

    assert len(pins) > 40
    assert all("==" in lines[i] and lines[i].endswith("\\") and "--hash=sha256:" in lines[i + 1] for i in pins)
    assert not re.search(r"://|--(extra-)?index-url|--find-links| @ |\./", "\n".join(lines))


def test_both_locks_agree() -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()

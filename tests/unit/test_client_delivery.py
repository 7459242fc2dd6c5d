"""Reports travel together: several in one entry of the stream, within limits and in order."""

import json

import pytest

from recovery.client.delivery import ENTRY_BYTES, ENTRY_REPORTS, entries


def carried(reports: list[bytes]) -> list[object]:
    """Return all reports as an intake finds them in the entries."""
    found: list[object] = []
    for field, value in entries(reports):
        read = json.loads(value)
        found.extend(read if field == "failures" else [read])
    return found


def test_a_report_alone_is_the_message_that_any_language_sends() -> None:
    assert list(entries([b'{"service": "web"}'])) == [("failure", b'{"service": "web"}')]


@pytest.mark.parametrize("count", [0, 1, 2, ENTRY_REPORTS, ENTRY_REPORTS + 1, 256])
def test_every_report_is_carried_once_and_in_order(count: int) -> None:
    assert carried([b'{"n": %d}' % number for number in range(count)]) == [{"n": number} for number in range(count)]


def test_an_entry_holds_no_more_than_its_share() -> None:
    sizes = [len(json.loads(value)) for field, value in entries([b"{}"] * 150) if field == "failures"]

    assert sizes == [64, 64, 22]


def test_long_reports_share_no_entry() -> None:
    long = b'"%s"' % (b"x" * (ENTRY_BYTES - 2))

    assert [field for field, _ in entries([b"1", long, long, b"2", b"3"])] == ["failure", "failure", "failure", "failures"]

"""Times, durations and tables as people read them."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from recovery.history import Rate, Spread
from recovery.models import Status
from workers.cli.past import rate, spread
from workers.cli.render import ago, counted, duration, plain, print_json, print_lines, print_table, table, text_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.344, "0.34 s"), (12.54, "12.5 s"), (59.99, "60.0 s"), (60, "1 m"), (200, "3 m 20 s"), (7_500, "2 h 5 m"), (349_200, "4 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_how_long_ago() -> None:
    assert ago(NOON - timedelta(seconds=90), NOON) == "1 m 30 s ago"
    assert ago(None, NOON) == "never"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ("", "-"), (Status.HEALTHY, "healthy"), ((), "-"), (["a", "b"], "a, b"), ("two\nlines", "two lines"), (3, "3")],
)
def test_cells(value: object, text: str) -> None:
    assert text_of(value) == text


STEERING = "a\x1b[2J\x1b]0;owned\x07\u202eb\x9b31m\x7f\ud800ä√"
SPELT = r"a\x1b[2J\x1b]0;owned\x07\u202eb\x9b31m\x7f\ud800ä√"


def test_what_steers_a_terminal_is_spelt_out_in_cells_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert text_of(STEERING) == SPELT
    assert text_of([STEERING, "b"]) == f"{SPELT}, b"

    print_lines([STEERING], hang=4)

    assert capsys.readouterr().out == SPELT + "\n"


def test_json_spells_it_out_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"reason": STEERING})

    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert "ä√" in text
    assert json.loads(text) == {"reason": STEERING}


def test_json_has_plain_words_utc_times_and_shares() -> None:
    found = plain({"status": Status.HEALTHY, "at": NOON, "rate": Rate(1, 4), "list": (Status.UNKNOWN,)})

    assert found == {"status": "healthy", "at": "2026-01-01T12:00:00Z", "rate": {"hits": 1, "of": 4, "share": 0.25}, "list": ["unknown"]}


def test_a_table_in_a_pipe_is_aligned_and_uncut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "long column"), [["x" * 200, None], ["y", "z"]], empty="none")

    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split()) for line in lines] == [3, 2, 2]
    assert {line.index(word) for line, word in zip(lines, ("long", "-", "z"), strict=True)} == {202}


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a",), [], empty="Nothing here.")

    assert capsys.readouterr().out == "Nothing here.\n"


def test_rates_and_spreads_come_with_their_count() -> None:
    assert rate(Rate(39, 40)) == "97.5 % (39 of 40)"
    assert rate(Rate(0, 0)) == "- (0)"
    assert spread(Spread.of([1.0, 3.0])) == "p50 2.0 s, p95 2.9 s (of 2)"
    assert spread(None) == "-"


ROWS = [["8b0b610e", "2026-01-01 12:00:00", "service_unavailable", "no answer on port 8080 within 1 s, tried three times"]]


def shown(width: int, drop: tuple[str, ...] = ()) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(table(("id", "opened", "category", "message"), ROWS, width=width, drop=drop))
    return [line.strip() for line in capture.get().splitlines() if line.strip()]


def test_only_prose_wraps_and_at_words() -> None:
    lines = shown(80)

    assert lines[2].startswith("8b0b610e  2026-01-01 12:00:00  service_unavailable  no answer")
    assert " ".join(" ".join(lines[2:]).split()).endswith(ROWS[0][-1])
    assert len(lines) > 3


def test_a_narrow_terminal_drops_the_least_important_columns_and_no_more() -> None:
    assert shown(80, ("category", "opened"))[0].split() == ["id", "opened", "category", "message"]
    assert shown(60, ("category", "opened"))[0].split() == ["id", "opened", "message"]
    assert shown(40, ("category", "opened"))[0].split() == ["id", "message"]


def test_what_fits_in_no_way_is_told_below_its_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    print_table(("id", "opened", "category", "message"), ROWS, empty="")

    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["id", "8b0b610e"]
    assert lines[2:] == ["    no answer on port 8080 within 1 s, tried three", "    times"]


@pytest.mark.parametrize(
    ("number", "noun", "text"), [(1, "service", "1 service"), (0, "service", "0 services"), (2, "dry run", "2 dry runs")]
)
def test_counts_agree_with_their_noun(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text

import io
import json
import threading

import pytest

from workers.platform import output as module
from workers.platform.output import Lines, Output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Stuck(io.StringIO):
    """A reader that takes nothing until it is let go, like a terminal after Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.released.wait(60)
        return super().write(text)


class Gone(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_lines_are_cut_wherever_the_pipe_was_cut() -> None:
    lines = Lines()

    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\nthr") == ["two"]
    assert lines.end() == ["thr"]
    assert lines.end() == []


def test_a_child_without_line_ends_does_not_fill_the_memory() -> None:
    lines = Lines(limit=10)

    assert lines.feed(b"x" * 11) == ["x" * 11]


def test_bytes_that_are_not_utf8_are_shown_not_raised() -> None:
    assert Lines().feed(b"caf\xe9\n") == ["caf\N{REPLACEMENT CHARACTER}"]


def test_every_line_begins_with_the_name_of_its_child() -> None:
    stream = io.StringIO()
    output = Output(stream, width=7)

    output.say("beat", "a")
    output.voice("recover").write("b\nc\n")
    output.close()

    assert stream.getvalue() == "beat    | a\nrecover | b\nrecover | c\n"


def test_a_terminal_gets_one_colour_per_child() -> None:
    stream = Terminal()
    output = Output(stream, width=4)

    for name in ("beat", "up", "beat"):
        output.say(name, "x")
    output.close()

    first, second, third = stream.getvalue().splitlines()
    assert first == third == "\x1b[36mbeat |\x1b[0m x"
    assert second == "\x1b[33mup   |\x1b[0m x"


def test_json_lines_stay_json_and_name_their_child() -> None:
    stream = io.StringIO()
    output = Output(stream, width=7, as_json=True)

    output.say("beat", '{"event": "tick"}')
    output.say("beat", "Traceback (most recent call last):")
    output.close()

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first == {"node": "beat", "event": "tick"}
    assert second == {"node": "beat", "level": "INFO", "event": "Traceback (most recent call last):"}


def test_a_reader_that_stands_still_holds_up_nobody_and_is_told_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_LIMIT", 3)
    stream = Stuck()
    output = Output(stream, width=1)
    output.say("a", "first")
    assert stream.reached.wait(60)

    for number in range(5):
        output.say("a", str(number))
    stream.released.set()
    output.close()

    assert stream.getvalue().splitlines() == ["a | first", "(2 lines were dropped here: nobody read them)", "a | 2", "a | 3", "a | 4"]


def test_a_reader_that_has_gone_away_is_no_error() -> None:
    output = Output(Gone(), width=1)

    output.say("a", "x")
    output.close()

    assert not output._writer.is_alive()

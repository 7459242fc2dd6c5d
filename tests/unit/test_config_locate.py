"""Line numbers: every way of writing a key in TOML is found on its line."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.config.locate import Lines, Where

TEXT = '''\
# a comment with [brackets] = and "quotes"
title = "a # no comment" # a comment
[owner."first name"]
a.b.c = 1
'x y' = """
long [text] = 1
""\\"""""
z = \'\'\'
'' literal
\'\'\'
[[jobs]]
id = 1
list = [ # one
  1, "two, [",
  [3, 4], { deep = 5, "and more" = [6,
  7] },
]
[[jobs]]
id = 2
when = 1979-05-27 07:32:00
  [jobs.inner]
  key = true
  [[jobs.parts]]
  name = 'p'
'''


def test_every_form_of_key_is_found_on_its_line() -> None:
    lines = Lines(TEXT)

    expected: dict[Where, int] = {
        ("title",): 2,
        ("owner",): 3,
        ("owner", "first name"): 3,
        ("owner", "first name", "a", "b", "c"): 4,
        ("owner", "first name", "x y"): 5,
        ("owner", "first name", "z"): 8,
        ("jobs", 0): 11,
        ("jobs", 0, "id"): 12,
        ("jobs", 0, "list"): 13,
        ("jobs", 0, "list", 0): 14,
        ("jobs", 0, "list", 2, 1): 15,
        ("jobs", 0, "list", 3, "deep"): 15,
        ("jobs", 0, "list", 3, "and more", 1): 16,
        ("jobs", 1): 18,
        ("jobs", 1, "when"): 20,
        ("jobs", 1, "inner"): 21,
        ("jobs", 1, "inner", "key"): 22,
        ("jobs", 1, "parts", 0, "name"): 24,
    }
    assert tomllib.loads(TEXT)["jobs"][1]["parts"][0]["name"] == "p"
    assert {where: lines.line(where) for where in expected} == expected


def test_a_place_that_is_not_written_has_the_line_of_what_encloses_it() -> None:
    lines = Lines(TEXT)

    assert lines.line(("jobs", 1, "inner", "missing", 3)) == 21
    assert lines.line(("elsewhere",)) is None


def test_windows_line_ends_count_once() -> None:
    assert Lines("a = 1\r\n\r\nb = 2\r\n").line(("b",)) == 3


@pytest.mark.parametrize("text", ["a = [}", "a = {]", "a = [1, ", "a =", "[", "[[", '"', "a = {b", "a = ["])
def test_a_text_that_is_no_toml_comes_to_an_end(text: str) -> None:
    assert Lines(text).line(("z",)) is None


@given(st.text(alphabet="ab.=[]{}\"'\\ \n\r#,1", max_size=60))
def test_whatever_the_parser_accepts_is_found_completely(text: str) -> None:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        Lines(text)  # must not raise
        return

    lines = Lines(text)

    assert [where for where in places(tree, ()) if where not in lines._found] == []


def places(value: Any, where: Where) -> list[Where]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [place for key, item in inner for place in [(*where, key), *places(item, (*where, key))]]

"""What the survey's task says about a source file."""

from __future__ import annotations

import pytest

from survey_tasks.metrics import excerpt, measure

SOURCE = b'''import os, json.decoder
from collections import abc
from . import sibling


class Shelf:
    """Holds books."""

    def put(self, book):
        for place in range(3):
            if place:
                return place
            elif book:
                return 0


async def main():
    pass
'''


def test_measure_counts_definitions_and_lines() -> None:
    found = measure(SOURCE, "shelf.py")
    assert (found.lines, found.functions, found.classes, found.documented) == (18, 2, 1, 1)


def test_measure_names_imported_modules_without_relative_ones() -> None:
    assert measure(SOURCE, "shelf.py").imports == ["collections", "json", "os"]


def test_measure_does_not_nest_an_elif() -> None:
    assert measure(SOURCE, "shelf.py").max_nesting == 4


def test_measure_finds_the_longest_function() -> None:
    longest = measure(SOURCE, "shelf.py").longest_function
    assert (longest.name, longest.line, longest.lines) == ("put", 9, 6)
    assert excerpt(SOURCE, line=longest.line, length=1) == ["    def put(self, book):"]


def test_measure_of_nothing_is_all_zero() -> None:
    found = measure(b"", "empty.py")
    assert (found.lines, found.functions, found.max_nesting) == (0, 0, 0)
    assert excerpt(b"", line=found.longest_function.line) == []


def test_measure_refuses_what_is_not_python_with_file_and_line() -> None:
    with pytest.raises(SyntaxError) as raised:
        measure(b"x = 1\nprint 'hello'\n", "old.py")
    assert (raised.value.filename, raised.value.lineno) == ("old.py", 2)

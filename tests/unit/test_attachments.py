"""Files from whatever the caller has in hand."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from werkzeug.datastructures import FileStorage

from outsourced.attachments import guess_content_type, new_file
from outsourced.records import NewFile


def read(file: NewFile) -> bytes:
    with file.open() as stream:
        return stream.read()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(b"pixels")
    return path


def test_new_file_reads_a_path_each_time_anew(path: Path) -> None:
    for source in (path, str(path)):
        file = new_file(source)
        assert (file.filename, file.content_type) == ("photo.png", "image/png")
        assert read(file) == read(file) == b"pixels"


def test_new_file_stays_right_when_the_folder_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    file = new_file("photo.png")
    monkeypatch.chdir("/")
    assert read(file) == b"pixels"


def test_new_file_reads_an_open_file_from_where_it_stands_and_leaves_it_open(path: Path) -> None:
    with path.open("rb") as stream:
        stream.read(2)
        file = new_file(stream)
        assert read(file) == read(file) == b"xels"
        assert not stream.closed
    assert file.filename == "photo.png"


def test_new_file_takes_a_name_and_bytes() -> None:
    file = new_file(("../up/notes.txt", b"text"))
    assert (file.filename, file.content_type) == ("notes.txt", "text/plain")
    assert read(file) == read(file) == b"text"


def test_new_file_takes_a_stream_without_a_name() -> None:
    file = new_file(io.BytesIO(b"x"))
    assert (file.filename, file.content_type, read(file)) == ("attachment", "application/octet-stream", b"x")


def test_new_file_keeps_what_a_pipe_gave_once() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"once")
    os.close(writing)
    with open(reading, "rb") as pipe:
        file = new_file(pipe)
    assert read(file) == read(file) == b"once"


def test_new_file_takes_an_upload() -> None:
    upload = FileStorage(io.BytesIO(b"a,b"), filename="rows.csv", name="field")
    file = new_file(upload)
    assert (file.filename, file.content_type, read(file)) == ("rows.csv", "text/csv", b"a,b")


@pytest.mark.parametrize("missing", ["nothing.txt", "."])
def test_new_file_refuses_a_path_that_is_no_file(tmp_path: Path, missing: str) -> None:
    with pytest.raises(OSError, match=str(tmp_path)):
        new_file(tmp_path / missing)


@pytest.mark.parametrize("source", [io.StringIO("text"), b"bytes", 5, ("name", "text"), ("name",)])
def test_new_file_refuses_anything_else(source: Any) -> None:
    with pytest.raises(TypeError, match="attachment="):
        new_file(source)


@pytest.mark.parametrize(
    ("name", "kind"), [("a.json", "application/json"), ("a.tar.gz", "application/octet-stream")]
)
def test_guess_content_type_is_that_of_the_bytes(name: str, kind: str) -> None:
    assert guess_content_type(name) == kind

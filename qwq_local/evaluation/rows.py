"""A file of tasks, line by line: JSON lines, a JSON array or CSV, each also compressed with gzip."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from qwq_local.errors import SettingsError
from qwq_local.evaluation.formats.fields import Fields, LineError, check_unicode, kind, parse_json, refuse_constant

LONGEST_LINE_BYTES = 2**27
"""What LiveCodeBench's longest lines stay below; a line that exceeds it is skipped unread."""

_GZIP: Final = b"\x1f\x8b"
_PARQUET: Final = b"PAR1"
_TO_JSON_LINES: Final = "python -c \"import pandas; pandas.read_parquet({name!r}).to_json({new!r}, orient='records', lines=True)\""


@dataclass(frozen=True)
class Malformed:
    """A line that makes no question, counted from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Row:
    """What a line holds; `number` counts the rows of its file, from 1, those that cannot be read too."""

    line: int
    number: int
    fields: Fields


Rows: TypeAlias = Iterator[Row | Malformed]


def read_rows(path: Path) -> Rows:
    """Every row of a file, in order. Raises SettingsError where the whole of it cannot be read."""
    try:
        with _opened(path) as stream:
            yield from _rows(stream, path)
    except (OSError, EOFError, zlib.error) as error:  # the last two from a gzip file that is damaged or ends early
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SettingsError(f"{path} cannot be read: {reason}.", hint="Give a file of tasks: JSON lines, JSON or CSV.") from error


def _opened(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        start = file.read(4)
    if start == _PARQUET:
        new = path.with_suffix(".jsonl").name
        how = _TO_JSON_LINES.format(name=path.name, new=new)
        raise SettingsError(f"{path} is Parquet, which is not read.", hint=f"Convert it first: {how}")
    return gzip.open(path) if start[:2] == _GZIP else path.open("rb")


def _rows(stream: io.BufferedIOBase, path: Path) -> Rows:
    if ".csv" in [suffix.lower() for suffix in path.suffixes[-2:]]:
        return _of_csv(stream, path)
    start = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    stream.seek(0)
    return _of_array(stream, path) if start == b"[" else _of_lines(stream)


def _of_lines(stream: io.BufferedIOBase) -> Rows:
    number = 0
    for line, content in enumerate(_lines(stream), 1):
        if content is None:
            number += 1
            yield Malformed(line, f"it is longer than {LONGEST_LINE_BYTES:,} bytes")
        elif content.strip():
            number += 1
            yield _row(line, number, content)


def _lines(stream: io.BufferedIOBase) -> Iterator[bytes | None]:
    """Each line, without the mark that some editors put before the first; None for one that is too long."""
    content = stream.readline(LONGEST_LINE_BYTES + 1).removeprefix(b"\xef\xbb\xbf")
    while content:
        is_whole = len(content) <= LONGEST_LINE_BYTES
        while not is_whole and content and not content.endswith(b"\n"):
            content = stream.readline(LONGEST_LINE_BYTES)
        yield content if is_whole else None
        content = stream.readline(LONGEST_LINE_BYTES + 1)


def _row(line: int, number: int, content: bytes) -> Row | Malformed:
    try:
        return Row(line, number, _object(parse_json(content.decode())))
    except UnicodeDecodeError:
        return Malformed(line, "it is not UTF-8")
    except RecursionError:
        return Malformed(line, "it is nested too deeply")
    except LineError as error:
        return Malformed(line, str(error))


def _object(value: object) -> Fields:
    if not isinstance(value, dict):
        raise LineError(f"it must be an object, not {kind(value)}")
    return value


def _of_array(stream: io.BufferedIOBase, path: Path) -> Rows:
    """Each object of an array, with the line that it begins at."""
    text = _text(stream, path)
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    place, line, number = text.index("[") + 1, 1 + text.count("\n", 0, text.index("[")), 0
    while (start := _next(text, place, is_first=not number)) >= 0:
        line += text.count("\n", place, start)
        number += 1
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError, LineError) as error:
            raise _broken(path, line, str(error)) from error
        yield _element(line, number, value, text[start:end])
        line += text.count("\n", start, end)
        place = end
    if start == _BROKEN:
        line += text.count("\n", place, _skip(text, place))
        raise _broken(path, line, "a comma or the end of the list is missing")


_END: Final = -1
_BROKEN: Final = -2


def _next(text: str, place: int, *, is_first: bool) -> int:
    """Where the next element of an array begins; _END behind the last, _BROKEN where neither follows."""
    rest = _skip(text, place)
    if text[rest : rest + 1] == "]":
        return _END
    if is_first:
        return rest if rest < len(text) else _BROKEN
    if text[rest : rest + 1] != ",":
        return _BROKEN
    return _skip(text, rest + 1)


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place


def _element(line: int, number: int, value: object, text: str) -> Row | Malformed:
    try:
        check_unicode(text, value)
        return Row(line, number, _object(value))
    except RecursionError:
        return Malformed(line, "it is nested too deeply")
    except LineError as error:
        return Malformed(line, str(error))


def _of_csv(stream: io.BufferedIOBase, path: Path) -> Rows:
    """Each row under its headings, with the line that it begins at; a cell that is empty is no field."""
    reader = csv.reader(io.StringIO(_text(stream, path), newline=""), strict=True)
    try:
        headings = [heading.strip() for heading in next(reader, [])]
        line, number = reader.line_num + 1, 0
        for cells in reader:
            if cells:
                number += 1
                yield _of_cells(line, number, headings, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise _broken(path, reader.line_num, str(error)) from error


def _of_cells(line: int, number: int, headings: list[str], cells: list[str]) -> Row | Malformed:
    if len(cells) != len(headings):
        return Malformed(line, f"it has {len(cells)} cells under {len(headings)} headings")
    fields: dict[str, Any] = dict(zip(headings, cells, strict=True))
    return Row(line, number, fields)


def _text(stream: io.BufferedIOBase, path: Path) -> str:
    content = stream.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(path, 1 + content.count(b"\n", 0, error.start), "it is not UTF-8") from error


def _broken(path: Path, line: int, reason: str) -> SettingsError:
    return SettingsError(f"{path}, line {line}: {reason}.", hint="Nothing after that can be read. Mend the file, or save it anew as UTF-8.")

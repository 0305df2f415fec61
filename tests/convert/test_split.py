"""A model in several files."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_convert.pipeline import ConversionChoices, convert
from qwq_convert.split import distribute, parse_size, split_path
from qwq_local import QwQ
from qwq_local.errors import SettingsError
from qwq_local.gguf import read_header
from tests.checkpoints import NANO

QUESTION = "What is 47 + 85?"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (file,) = convert(NANO, tmp_path_factory.mktemp("whole"), ["Q8_0"], ConversionChoices(name="nano")).files
    return file.path


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    choices = ConversionChoices(name="nano", split_bytes=1_000_000)
    return tuple(file.path for file in convert(NANO, tmp_path_factory.mktemp("split"), ["Q8_0"], choices).files)


def test_names_and_numbers_are_those_that_llama_cpp_looks_for(split: tuple[Path, ...]) -> None:
    assert [path.name for path in split] == [f"nano-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    headers = [read_header(path) for path in split]
    assert [header.metadata["split.no"] for header in headers] == [0, 1, 2]
    assert {header.metadata["split.count"] for header in headers} == {3}
    assert {header.metadata["split.tensors.count"] for header in headers} == {39}
    assert headers[0].text("general.architecture") == "qwen2"
    assert list(headers[1].metadata) == ["split.no", "split.tensors.count", "split.count"]


def test_each_file_holds_its_share_in_order(split: tuple[Path, ...], whole: Path) -> None:
    parts = [tensor for path in split for tensor in gguf.GGUFReader(path).tensors]
    for part, tensor in zip(parts, gguf.GGUFReader(whole).tensors, strict=True):
        assert (part.name, part.tensor_type, part.data.tobytes()) == (tensor.name, tensor.tensor_type, tensor.data.tobytes())
    for path in split:
        assert sum(tensor.size_bytes for tensor in read_header(path).tensors) <= 1_000_000


@pytest.mark.slow
def test_the_first_file_answers_as_the_whole_model_does(split: tuple[Path, ...], whole: Path) -> None:
    replies = []
    for path in (split[0], whole):
        with QwQ.load(str(path)) as qwq:
            reply = qwq.chat(QUESTION, seed=1)
            replies.append((reply.reasoning, reply.content))
    assert replies[0] == replies[1]
    assert "132" in replies[0][1]


def test_what_fits_into_one_file_is_one_file(tmp_path: Path, whole: Path) -> None:
    (file,) = convert(NANO, tmp_path, ["Q8_0"], ConversionChoices(name="nano", split_bytes=10**9)).files
    assert file.path.read_bytes() == whole.read_bytes()
    assert file.path.name == "nano-Q8_0.gguf"


def test_a_tensor_larger_than_a_file_is_refused_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"takes 208,896 bytes, more than the 200,000") as caught:
        convert(NANO, tmp_path, ["Q8_0"], ConversionChoices(split_bytes=200_000))
    assert "--split 1M" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "size"), [("40G", 40 * 10**9), ("500M", 500 * 10**6), ("1g", 10**9)])
def test_sizes_are_gguf_splits(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "40", "G", "0G", "-1G", "1.5G", "40GB", "4T", "1e3M", "٤G"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no size"):
        parse_size(text)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(100, 300))
def test_files_are_as_full_as_order_allows(sizes: list[int], limit: int) -> None:
    table = {str(index): size for index, size in enumerate(sizes)}
    files = distribute(table, limit)
    assert [name for file in files for name in file] == list(table)
    totals = [sum(table[name] for name in file) for file in files]
    assert max(totals) <= limit
    assert all(total + table[following[0]] > limit for total, following in zip(totals, files[1:], strict=False))


def test_more_files_than_the_format_counts_are_refused() -> None:
    with pytest.raises(SettingsError, match="65,535 are possible"):
        distribute({str(index): 1 for index in range(2**16)}, 1)


def test_a_file_of_several_is_named_by_its_number_and_their_count() -> None:
    assert split_path(Path("a/QwQ-32B-BF16.gguf"), 1, 12) == Path("a/QwQ-32B-BF16-00002-of-00012.gguf")

"""Every damaged checkpoint gets an error that names its fault, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwq_convert.pipeline import ConversionChoices, convert
from qwq_local.errors import ConversionError
from qwq_local.gguf import read_header
from tests.checkpoints import FIRST, INDEX, copy_nano, read_shard, write_shard
from tests.damages import DAMAGES
from tests.random_damages import random_damages


@pytest.mark.parametrize("fault", DAMAGES)
def test_damage_is_named_and_leaves_nothing(fault: str, tmp_path: Path) -> None:
    damage, named = DAMAGES[fault]
    source, out = copy_nano(tmp_path / "checkpoint"), tmp_path / "out"
    damage(source)
    with pytest.raises(ConversionError) as caught:
        convert(source, out, ["F16", "Q8_0"])
    assert named in str(caught.value)
    assert caught.value.hint
    left = [path.name for path in out.iterdir()] if out.exists() else []
    assert all(name.endswith(".part") for name in left)
    assert left == [] or fault.startswith("weight_")


@pytest.mark.slow
def test_damage_by_the_dozen_is_told_and_leaves_no_file_under_its_final_name(tmp_path: Path) -> None:
    for number, (what, damage) in enumerate(random_damages(seed=11, count=56)):
        source, out = copy_nano(tmp_path / f"{number}-checkpoint"), tmp_path / f"{number}-out"
        damage(source)
        with pytest.raises(ConversionError) as caught:
            convert(source, out, ["Q8_0"])
        assert caught.value.hint, what
        assert not out.exists() or all(path.suffix == ".part" for path in out.iterdir()), what


def test_a_source_that_is_a_file(tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.touch()
    with pytest.raises(ConversionError, match="is no folder"):
        convert(source, tmp_path, ["F32"])


DOCUMENTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", INDEX, FIRST)
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 600),
    st.sampled_from([2**31, 2**63, 2**64, -1.5, 1e308, float("inf"), float("nan")]),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
    st.lists(st.integers(0, 9), min_size=1, max_size=3),
    st.just({"type": "yarn", "factor": 2}),
)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_junk_in_any_document_is_harmless_or_an_error_of_ours(data: st.DataObject, workplace: Path) -> None:
    source = workplace / "checkpoint"
    shutil.rmtree(source, ignore_errors=True)
    copy_nano(source)
    name = data.draw(st.sampled_from(DOCUMENTS))
    document, weights = read_shard(source / name) if name == FIRST else (json.loads((source / name).read_text()), None)
    for _ in range(data.draw(st.integers(1, 2))):
        parent, key = data.draw(st.sampled_from(list(places(document))))
        parent[key] = deepcopy(data.draw(JUNK))
    if weights is None:
        (source / name).write_text(json.dumps(document))
    else:
        write_shard(source / name, document, weights)
    with suppress(ConversionError):
        report = convert(source, workplace, ["F16"], ConversionChoices(name="fuzzed", force=True))
        assert read_header(report.files[0].path).tensors, "what is made of junk that passes is a model's file all the same"


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON document, but only the first few of what it holds by the hundred."""
    keys = list(document) if isinstance(document, dict) else range(len(document))
    for key in list(keys)[:12]:
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])

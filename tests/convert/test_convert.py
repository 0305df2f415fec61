"""The converter on whole checkpoints."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from qwq_convert import pipeline
from qwq_convert.checkpoint import open_checkpoint
from qwq_convert.config import parse_config
from qwq_convert.encoding import Encoder
from qwq_convert.mapping import map_tensors
from qwq_convert.metadata import YarnChoice
from qwq_convert.pipeline import ConversionChoices, ConversionProgress, convert
from qwq_local.errors import ConversionError, LoadError, SettingsError
from qwq_local.gguf import GgufArray, GgufHeader, read_header
from qwq_local.llama import quantize_rows
from qwq_local.quants import TensorType
from tests.checkpoints import NANO, copy_nano, make_odd, put, read_shard

NAMED = ConversionChoices(name="nano")
PLAIN = ("F32", "BF16", "F16", "Q8_0")
"""Quantizations that gguf-py makes too, with one type for all matrices."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("made")
    return {file.quantization: file.path for file in convert(NANO, out, PLAIN, NAMED).files}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    out = tmp_path_factory.mktemp("odd")
    source = make_odd(out / "checkpoint")
    return source, {file.quantization: file.path for file in convert(source, out, PLAIN).files}


def source_tensors(folder: Path) -> dict[str, tuple[bytes, NDArray[np.float32]]]:
    """Stored bytes, and values as float32, of each tensor by its name in GGUF."""
    checkpoint = open_checkpoint(folder)
    found = {}
    for tensor in map_tensors(parse_config(checkpoint.config), {name: t.shape for name, t in checkpoint.tensors.items()}):
        source = checkpoint.tensors[tensor.source]
        header, data = read_shard(source.path)
        begin, end = header[tensor.source]["data_offsets"]
        stored = bytes(data[begin:end])
        half = np.frombuffer(stored, "<f2").astype(np.float32)
        values = half if source.dtype == "F16" else (np.frombuffer(stored, "<u2").astype(np.uint32) << 16).view(np.float32)
        found[tensor.target] = (stored, values.reshape(tensor.shape))
    return found


def converted_tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def test_bfloat16_keeps_the_bytes_of_the_checkpoint(made: dict[str, Path]) -> None:
    tensors = converted_tensors(made["BF16"])
    assert len(tensors) == 39
    for name, (stored, values) in source_tensors(NANO).items():
        assert tensors[name].data.tobytes() == (stored if values.ndim == 2 else values.tobytes()), name


@pytest.mark.parametrize("quantization", PLAIN)
def test_tensors_equal_what_gguf_py_makes_of_them(quantization: str, made: dict[str, Path]) -> None:
    tensors = converted_tensors(made[quantization])
    for name, (_, values) in source_tensors(NANO).items():
        due = "F32" if values.ndim == 1 else quantization
        assert tensors[name].tensor_type.name == due
        assert tensors[name].data.tobytes() == gguf.quantize(values, gguf.GGMLQuantizationType[due]).tobytes(), name


@pytest.mark.parametrize("quantization", PLAIN)
def test_an_odd_checkpoint_converts_as_exactly(quantization: str, odd: tuple[Path, dict[str, Path]]) -> None:
    source, files = odd
    tensors = converted_tensors(files[quantization])
    assert "output.weight" not in tensors  # its embeddings are tied
    for name, (_, values) in source_tensors(source).items():
        due = "F32" if values.ndim == 1 else quantization
        due = "F16" if due == "Q8_0" and values.shape[-1] % 32 else due
        assert tensors[name].tensor_type.name == due
        assert tensors[name].data.tobytes() == gguf.quantize(values, gguf.GGMLQuantizationType[due]).tobytes(), name
    assert tensors["blk.0.ffn_down.weight"].tensor_type.name == ("F16" if quantization == "Q8_0" else quantization)


def test_an_odd_checkpoint_describes_itself(odd: tuple[Path, dict[str, Path]]) -> None:
    source, files = odd
    assert files["F16"].name == "odd-1B-F16.gguf"
    header = read_header(files["F16"], arrays=True)
    assert header.text("general.license") == "apache-2.0"
    assert header.text("general.base_model.0.organization") == "Qwen"
    assert header.number("general.sampling.penalty_repeat") == 1.25
    assert header.number("general.sampling.min_p") == 0.25
    assert header.integer("general.sampling.top_k") == 40
    assert header.number("qwen2.rope.freq_base") == 1e6
    assert header.text("tokenizer.chat_template") == (source / "chat_template.jinja").read_text(encoding="utf-8")
    assert items(header, "tokenizer.ggml.tokens")[511:514] == ("</think>", "[PAD512]", "[PAD513]")
    assert items(header, "tokenizer.ggml.token_type")[502:513] == (1, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5)


def items(header: GgufHeader, key: str) -> tuple[object, ...]:
    array = header.metadata[key]
    assert isinstance(array, GgufArray)
    assert array.items is not None
    return array.items


def test_a_file_tells_the_models_shape_its_tokens_and_how_to_sample(made: dict[str, Path]) -> None:
    header = read_header(made["Q8_0"], arrays=True)
    tokenizer = json.loads((NANO / "tokenizer.json").read_text(encoding="utf-8"))
    expected: dict[str, object] = {
        "general.architecture": "qwen2",
        "general.name": "nano",
        "general.size_label": "2.6M",
        "general.file_type": 7,
        "general.sampling.top_k": 40,
        "general.sampling.min_p": 0.0,
        "qwen2.block_count": 3,
        "qwen2.context_length": 2048,
        "qwen2.rope.scaling.type": "yarn",
        "qwen2.rope.scaling.factor": 4.0,
        "qwen2.rope.scaling.original_context_length": 512,
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.eos_token_id": 505,
        "tokenizer.ggml.bos_token_id": 503,
        "tokenizer.ggml.padding_token_id": 503,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {key: header.metadata[key] for key in expected} == expected
    assert header.number("general.sampling.temp") == pytest.approx(0.6)
    assert items(header, "tokenizer.ggml.merges") == tuple(" ".join(merge) for merge in tokenizer["model"]["merges"])


@pytest.mark.parametrize(
    ("configured", "choice", "expected"),
    [
        ({}, YarnChoice(enabled=False), (512, None, None)),
        ({}, YarnChoice(factor=2.0), (1024, 2.0, 512)),
        ({"max_position_embeddings": 40960}, YarnChoice(), (163840, 4.0, 40960)),
        ({"rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 256}}, YarnChoice(), (2048, 8.0, 256)),
        ({"rope_scaling": {"type": "yarn", "factor": 8.0}}, YarnChoice(enabled=False), (512, None, None)),
    ],
)
def test_yarn_is_written_as_chosen(configured: dict[str, object], choice: YarnChoice, expected: tuple[object, ...], tmp_path: Path) -> None:
    source = copy_nano(tmp_path / "checkpoint")
    put("config.json", **configured)(source)
    (file,) = convert(source, tmp_path, ["F16"], ConversionChoices(yarn=choice)).files
    keys = ("context_length", "rope.scaling.factor", "rope.scaling.original_context_length")
    assert tuple(read_header(file.path).metadata.get(f"qwen2.{key}") for key in keys) == expected


def test_one_pass_in_small_pieces_makes_the_same_files(made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "Encoder", partial(Encoder, piece_bytes=5000))
    seen: list[ConversionProgress] = []
    report = convert(NANO, tmp_path, ["q8_0", "F32", "Q8_0"], NAMED, progress=seen.append)
    assert [file.quantization for file in report.files] == ["Q8_0", "F32"]
    assert all(file.path.read_bytes() == made[file.quantization].read_bytes() for file in report.files)
    assert [file.file_bytes for file in report.files] == [file.path.stat().st_size for file in report.files]
    assert report.files[0].tensor_types == {"F32": 16, "Q8_0": 23}
    assert len(seen) > 39
    assert [progress.done_bytes for progress in seen] == sorted(progress.done_bytes for progress in seen)
    assert seen[-1].done_bytes == seen[-1].total_bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "SHA256SUMS", "nano-F32.gguf", "nano-Q8_0.gguf"]


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "nano-F16.gguf"
    path.write_text("mine")
    with pytest.raises(ConversionError, match=r"nano-F16\.gguf exists"):
        convert(NANO, tmp_path, ["F16"], NAMED)
    assert path.read_text() == "mine"
    convert(NANO, tmp_path, ["F16"], ConversionChoices(name="nano", force=True))
    assert len(read_header(path).tensors) == 39


def test_a_failure_in_mid_run_leaves_no_new_file_under_its_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nano-F16.gguf").write_text("mine")
    calls = 0

    def fails(rows: NDArray[np.float32], tensor_type: TensorType, importance: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise LoadError("no more")
        return quantize_rows(rows, tensor_type, importance)

    monkeypatch.setattr(pipeline, "Encoder", partial(Encoder, quantize=fails))
    with pytest.raises(LoadError):
        convert(NANO, tmp_path, ["F16", "Q8_0"], ConversionChoices(name="nano", force=True))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".part") == ["nano-F16.gguf"]
    assert (tmp_path / "nano-F16.gguf").read_text() == "mine"


def test_a_full_disk_is_noticed_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(ConversionError, match="1,000,000 bytes free"):
        convert(NANO, tmp_path, ["F32"])


def test_the_folder_for_the_files_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(ConversionError, match="cannot be written to"):
        convert(NANO, tmp_path / "out", ["F32"])


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a:b"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        convert(NANO, tmp_path, ["F32"], ConversionChoices(name=name))


def test_nothing_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No quantization"):
        convert(NANO, tmp_path, [])


def test_an_unknown_quantization_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        convert(NANO, tmp_path, ["Q8"])
    assert "Did you mean Q8_0?" in caught.value.hint


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [("Qwen/QwQ-32B", "QwQ-32B"), ("/home/someone/models/x", "checkpoint"), (None, "checkpoint"), ("", "checkpoint")],
)
def test_the_name_is_the_models_or_the_folders(given_name: object, expected: str, tmp_path: Path) -> None:
    source = copy_nano(tmp_path / "checkpoint")
    put("config.json", _name_or_path=given_name)(source)
    assert open_checkpoint(source).name == expected

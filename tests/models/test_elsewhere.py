"""Files that other programs brought: found in each one's own layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwq_local.models.elsewhere import OLLAMA_MODEL, FoundFile, content_sha256, find_elsewhere

SHA = "0123456789abcdef" * 4


def put(path: Path, text: str = "GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hugging_face(cache: Path, repository: str, file: str) -> Path:
    folder = cache / f"models--{repository.replace('/', '--')}"
    put(folder / "blobs" / SHA)
    link = folder / "snapshots" / "abc" / file
    link.parent.mkdir(parents=True)
    link.symlink_to(folder / "blobs" / SHA)
    return link


def ollama(models: Path, manifest: str, layers: object) -> Path:
    put(models / "manifests" / manifest, json.dumps({"layers": layers}))
    return put(models / "blobs" / f"sha256-{SHA}")


def model_layer(sha: str = SHA) -> dict[str, object]:
    return {"mediaType": OLLAMA_MODEL, "digest": f"sha256:{sha}", "size": 4}


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    assert find_elsewhere({}, tmp_path) == []


@pytest.mark.parametrize(
    ("variable", "at"),
    [
        (None, ".cache/huggingface/hub"),
        ("HF_HOME", "x/hub"),
        ("HF_HUB_CACHE", "x"),
        ("HUGGINGFACE_HUB_CACHE", "x"),
        ("XDG_CACHE_HOME", "x/huggingface/hub"),
    ],
)
def test_the_hugging_face_cache_is_searched_where_its_variables_say(tmp_path: Path, variable: str | None, at: str) -> None:
    link = hugging_face(tmp_path / at, "bartowski/Qwen_QwQ-32B-GGUF", "Qwen_QwQ-32B-Q4_K_M.gguf")
    hugging_face(tmp_path / at, "someone/Llama-GGUF", "llama.gguf")
    environment = {variable: str(tmp_path / "x")} if variable else {}
    assert find_elsewhere(environment, tmp_path) == [FoundFile(link, link.name, "Hugging Face")]
    assert content_sha256(link) == SHA


def test_lm_studio_is_searched_in_its_folders_old_and_new_and_moved(tmp_path: Path) -> None:
    file = "models/lmstudio-community/QwQ-32B-GGUF/QwQ-32B-Q6_K.gguf"
    paths = [put(tmp_path / place / file) for place in ("elsewhere", ".lmstudio", ".cache/lm-studio")]
    put(tmp_path / ".lmstudio/models/a/b/other.gguf")
    put(tmp_path / ".lmstudio-home-pointer", f"{tmp_path / 'elsewhere'}\n")
    assert find_elsewhere({}, tmp_path) == [FoundFile(path, path.name, "LM Studio") for path in paths]
    assert content_sha256(paths[0]) is None


@pytest.mark.parametrize(
    ("manifest", "called"),
    [
        ("registry.ollama.ai/library/qwq/latest", "qwq-32b.gguf"),
        ("registry.ollama.ai/library/qwq/32b-q8_0", "qwq-32b-q8_0.gguf"),
        ("registry.ollama.ai/library/qwq/32b-preview-q4_K_M", "qwq-32b-preview-q4_K_M.gguf"),
        ("hf.co/Qwen/QwQ-32B-GGUF/Q4_K_M", "QwQ-32B-Q4_K_M.gguf"),
    ],
)
def test_ollama_names_its_files_by_manifest(tmp_path: Path, manifest: str, called: str) -> None:
    other = {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{SHA}"}
    blob = ollama(tmp_path / ".ollama/models", manifest, [other, model_layer()])
    ollama(tmp_path / ".ollama/models", "registry.ollama.ai/library/llama3/latest", [model_layer()])
    assert find_elsewhere({}, tmp_path) == [FoundFile(blob, called, "Ollama")]
    assert content_sha256(blob) == SHA


@pytest.mark.parametrize("layers", [None, 5, ["x"], [{"mediaType": OLLAMA_MODEL}], [model_layer("f" * 64)], [model_layer("../../../etc")]])
def test_a_manifest_that_makes_no_sense_gives_nothing(tmp_path: Path, layers: object) -> None:
    ollama(tmp_path / "m", "registry.ollama.ai/library/qwq/latest", layers)
    put(tmp_path / "m/manifests/registry.ollama.ai/library/qwq/broken", "{")
    assert find_elsewhere({"OLLAMA_MODELS": str(tmp_path / "m")}, tmp_path) == []

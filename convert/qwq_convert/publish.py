"""What lies beside the files, so that their folder can be published as it is: SHA256SUMS and README.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from qwq_convert.metadata import KeyValue
from qwq_convert.provenance import SUMS, parse_sums
from qwq_convert.report import ConversionReport
from qwq_local import card
from qwq_local.errors import ConversionError

README = "README.md"


def publish(folder: Path, report: ConversionReport, metadata: Sequence[KeyValue]) -> tuple[str, ...]:
    """Write SHA256SUMS and the model card for what is in `folder`; `metadata` is that of one of the files.

    Files of former runs keep their places in both. A README.md that somebody else wrote is left alone, which the notices returned say.

    Raises:
        ConversionError: the disk refuses.
    """
    try:
        sums = _sums(folder, report)
        _write(folder / SUMS, "".join(f"{sha256}  {name}\n" for name, sha256 in sums.items()))
        readme = folder / README
        if readme.exists() and _mark(report.name) not in readme.read_text(encoding="utf-8", errors="replace"):
            return (f"{readme} is not of this converter's making and was left as it is.",)
        files = {name: (folder / name).stat().st_size for name in sums if name.startswith(f"{report.name}-") and name.endswith(".gguf")}
        _write(readme, model_card(report, files, {entry.key: entry.value for entry in metadata}))
    except OSError as error:
        raise ConversionError(f"{error.filename or folder} cannot be written: {error.strerror}.", hint="Check the disk.") from error
    return ()


def model_card(report: ConversionReport, files: Mapping[str, int], metadata: Mapping[str, object]) -> str:
    """A README.md as the hub wants it; `files` gives the bytes of each."""
    sections = (_front_matter(report, metadata), _mark(report.name), _title(report), _table(report, files), _usage(files), _yarn(metadata))
    return "\n".join(section for section in sections if section)


def _sums(folder: Path, report: ConversionReport) -> dict[str, str]:
    """By name in order: those of earlier runs whose files are still there, and this run's."""
    path = folder / SUMS
    former = parse_sums(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else {}
    sums = {name: sha256 for name, sha256 in former.items() if (folder / name).is_file()}
    sums |= {file.path.name: file.sha256 for file in report.files}
    return dict(sorted(sums.items()))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def _mark(name: str) -> str:
    return f"<!-- written by qwq convert for {name} -->\n"


def _front_matter(report: ConversionReport, metadata: Mapping[str, object]) -> str:
    entries = {
        "license": metadata.get("general.license"),
        "license_name": metadata.get("general.license.name"),
        "license_link": metadata.get("general.license.link"),
        "base_model": report.repository,
        "base_model_relation": "quantized" if report.repository else None,
        "pipeline_tag": "text-generation",
        "library_name": "gguf",
        "tags": ["gguf", "llama.cpp", "qwq", "reasoning"],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items() if value is not None]
    return "\n".join(["---", *lines, "---\n"])


def _title(report: ConversionReport) -> str:
    origin = f"[{report.repository}](https://huggingface.co/{report.repository})" if report.repository else report.name
    at = f" at revision `{report.revision}`" if report.revision else ""
    content = f" The files' content there has the SHA-256 `{report.source_sha256}`." if report.source_sha256 else ""
    return f"# {report.name} in GGUF\n\n{origin}{at}, converted for llama.cpp.{content}\n"


def _table(report: ConversionReport, files: Mapping[str, int]) -> str:
    rows = [f"| {name} | {_size(size)} | {_bits(report, name, size)} |" for name, size in files.items()]
    return "\n".join(["| file | size | bits per weight |", "|---|---|---|", *rows, "", f"`sha256sum -c {SUMS}` checks them.\n"])


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def _bits(report: ConversionReport, name: str, size_bytes: int) -> str:
    return "part of several" if "-of-" in name else f"{8 * size_bytes / report.n_parameters:.2f}"


def _usage(files: Mapping[str, int]) -> str:
    name = min((name for name in files if "-of-" not in name or "-00001-of-" in name), key=lambda name: files[name])
    parts = "\nOf a model in several parts, give the first; the others must lie beside it.\n" if "-of-" in " ".join(files) else ""
    sampling = f"--temp {card.TEMPERATURE} --top-p {card.TOP_P} --top-k {card.TOP_K} --min-p {card.MIN_P:g}"
    return f"""## Use

With qwq-local, which follows the guidelines of QwQ's authors by itself:

```sh
qwq ask -m {name} "How many r are in strawberry?"
```

With llama.cpp:

```sh
llama-cli -m {name} --jinja {sampling} -p "How many r are in strawberry?"
```
{parts}"""


def _yarn(metadata: Mapping[str, object]) -> str:
    scaling = f"{card.ARCHITECTURE}.rope.scaling"
    if metadata.get(f"{scaling}.type") != "yarn":
        return ""
    factor, original = metadata[f"{scaling}.factor"], metadata[f"{scaling}.original_context_length"]
    return f"""## Long context

The files carry YaRN's scaling (factor {factor:g}, over {original:,} tokens). It is one fixed scale that hurts short texts: qwq uses it
only for what is too long without. llama.cpp always uses it; up to {original:,} tokens switch it off with `--rope-scaling none`.
"""

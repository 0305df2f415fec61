"""`qwq perplexity` and `qwq divergence`: the text read, the figures printed and said in words."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from qwq_local.cli.activity import Activity
from qwq_local.cli.terminal import count, notice, one_line
from qwq_local.errors import PromptError
from qwq_local.likelihood import (
    Divergence,
    Estimate,
    Extent,
    Perplexity,
    Quantiles,
    ScoringListener,
    ScoringSettings,
    run_divergence,
    run_perplexity,
)

MOST_TEXT_BYTES: Final = 2**30
"""llama.cpp counts a text's bytes and its tokens with int32."""
STANDARD_INPUT: Final = "-"
NAME_WIDTH, FIGURE_WIDTH = 24, 12
SHOWN_SHARES: Final = {0.5: "median", 0.9: "90 %", 0.99: "99 %", 0.999: "99.9 %", 1.0: "largest"}


def perplexity(model: str, text_file: str, options: Mapping[str, Any], *, as_json: bool) -> None:
    """Measure and print. Raises what `read_text` and `run_perplexity` do."""
    settings = ScoringSettings(**options)
    text = read_text(text_file)
    with Activity() as activity:
        found = run_perplexity(model, text, settings, ScoringListener(activity.begin, activity.update, notice))
    _print(perplexity_json(found) if as_json else None, _perplexity_page(found), found.notes)


def divergence(models: tuple[str, str], text_file: str, options: Mapping[str, Any], kept: Path | None, *, as_json: bool) -> None:
    """Measure and print. Raises what `read_text` and `run_divergence` do."""
    settings = ScoringSettings(**options)
    text = read_text(text_file)
    with Activity() as activity:
        found = run_divergence(*models, text, settings, ScoringListener(activity.begin, activity.update, notice), kept)
    _print(divergence_json(found) if as_json else None, _divergence_page(found), found.notes)


def read_text(name: str) -> str:
    """The text in a file, or on standard input. Raises PromptError where it cannot be read, is empty, too large, or not UTF-8."""
    if name == STANDARD_INPUT and sys.stdin is None:
        raise PromptError("Standard input is closed.", hint="Pipe the text in, or give a file.")
    try:
        text = (_piped() if name == STANDARD_INPUT else _bytes_of(Path(name))).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(f"{name} is not UTF-8 text (byte {error.start:,}).", hint="Convert it with iconv.") from error
    except OSError as error:
        raise PromptError(f"{name} cannot be read: {error.strerror}.", hint="Check the path of TEXTFILE.") from error
    if not text.strip():
        raise PromptError(f"{name} is empty.", hint="Give a text of some thousand words.")
    return text


def _piped() -> bytes:
    content = sys.stdin.buffer.read(MOST_TEXT_BYTES + 1)
    if len(content) > MOST_TEXT_BYTES:
        raise _too_large("Standard input", "more")
    return content


def _bytes_of(path: Path) -> bytes:
    if (size_bytes := path.stat().st_size) > MOST_TEXT_BYTES:
        raise _too_large(str(path), f"{size_bytes:,}")
    return path.read_bytes()


def _too_large(name: str, size: str) -> PromptError:
    return PromptError(f"{name} has {size} bytes, and {MOST_TEXT_BYTES:,} can be read.", hint="Give a part of it.")


def _print(as_json: dict[str, Any] | None, page: Iterable[str], notes: Iterable[str]) -> None:
    if as_json is not None:
        click.echo(json.dumps(as_json, ensure_ascii=False))
        return
    click.echo("\n".join(page))
    for note in notes:
        notice(f"notice: {note}")


def _perplexity_page(found: Perplexity) -> Iterator[str]:
    """For people, as wide as the terminal."""
    yield f"{one_line(found.model)}  {_extent(found.extent)}"
    yield ""
    yield _row("perplexity", _told(found.perplexity))
    yield _row("surprise, nats a token", _told(found.surprise))
    yield ""
    value = found.perplexity.value
    n_likely = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    yield from _wrapped(
        f"On average the next token is as hard to foresee as one of {n_likely} that are equally likely. "
        "Only models of the same tokens can be compared by it, over the same text in the same chunks."
    )


def _divergence_page(found: Divergence) -> Iterator[str]:
    """For people, as wide as the terminal."""
    yield f"{one_line(found.model)} beside {one_line(found.base)}  {_extent(found.extent)}"
    yield ""
    yield _row("perplexity", _told(found.perplexity))
    yield _row("  of the base", _told(found.base_perplexity))
    yield _row("  ratio", _told(found.ratio))
    yield _row("KL divergence, nats", _told(found.divergence))
    yield _row("", *(f"{head:>{FIGURE_WIDTH}}" for head in SHOWN_SHARES.values()))
    yield _row("", *(f"{found.divergences.by_share[share]:>{FIGURE_WIDTH}.6f}" for share in SHOWN_SHARES))
    yield _row("same likeliest token", _percent(found.same_top))
    yield _row("change of probability", _percent(found.change))
    yield _row("  root mean square", _percent(found.change_rms))
    yield ""
    yield from _wrapped(_in_words(found))


def _in_words(found: Divergence) -> str:
    """What the figures mean."""
    ratio = found.ratio
    same = f"Both find the same next token likeliest in {found.same_top.value:.1%} of places."
    moved = f"The probability of the text's own token changes by {found.change_rms.value:.2%} (root mean square). ± is one standard error."
    if found.n_at_floor:
        return f"{same} {moved}"
    change = f"{abs(ratio.value - 1):.2%} {'higher' if ratio.value > 1 else 'lower'}"
    beyond = "" if abs(ratio.value - 1) > 2 * ratio.uncertainty else ", which may be chance"
    return f"{same} The perplexity is {change} than the base's{beyond}. {moved}"


def _extent(extent: Extent) -> str:
    return f"{count(extent.n_chunks, 'chunk')} of {extent.n_ctx:,} tokens, {extent.n_scored:,} scored"


def _row(name: str, *cells: str) -> str:
    return f"{name:{NAME_WIDTH}}" + "".join(cells)


def _told(estimate: Estimate) -> str:
    return f"{estimate.value:>{FIGURE_WIDTH}.6f} ± {estimate.uncertainty:.6f}"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:>{FIGURE_WIDTH}.3f} ± {100 * estimate.uncertainty:.3f} %"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, min(shutil.get_terminal_size((100, 24)).columns, 100))


def perplexity_json(found: Perplexity) -> dict[str, Any]:
    """The object that `qwq perplexity --json` prints; nats."""
    return {
        "model": found.model,
        **_extent_json(found.extent),
        "perplexity": _estimate_json(found.perplexity),
        "surprise": _estimate_json(found.surprise),
        "notes": list(found.notes),
    }


def divergence_json(found: Divergence) -> dict[str, Any]:
    """The object that `qwq divergence --json` prints: nats, and shares of 1; quantiles by the share of places that lie below."""
    return {
        "model": found.model,
        "base": found.base,
        **_extent_json(found.extent),
        "perplexity": _estimate_json(found.perplexity),
        "base_perplexity": _estimate_json(found.base_perplexity),
        "perplexity_ratio": _estimate_json(found.ratio),
        "log_perplexity_ratio": _estimate_json(found.log_ratio),
        "correlation": found.correlation,
        "divergence": {
            **_estimate_json(found.divergence),
            "median": found.divergences.median,
            "quantiles": _quantiles_json(found.divergences),
        },
        "probability_change": {
            **_estimate_json(found.change),
            "root_mean_square": _estimate_json(found.change_rms),
            "quantiles": _quantiles_json(found.changes),
        },
        "same_top": _estimate_json(found.same_top),
        "n_at_floor": found.n_at_floor,
        "notes": list(found.notes),
    }


def _extent_json(extent: Extent) -> dict[str, int]:
    return {"n_chunks": extent.n_chunks, "n_ctx": extent.n_ctx, "n_scored": extent.n_scored}


def _estimate_json(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "uncertainty": estimate.uncertainty}


def _quantiles_json(quantiles: Quantiles) -> dict[str, float]:
    return {f"{share:g}": value for share, value in quantiles.by_share.items()}

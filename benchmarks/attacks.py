"""Special tokens smuggled in by text: ours beside llama-cpp-python's own chat handler, on the same 200 conversations.

python -m benchmarks.attacks [--model demo] [--json FILE]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from llama_cpp import Llama
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from benchmarks.options import json_option
from benchmarks.report import Table
from qwq_local import card
from qwq_local.models.store import find
from qwq_local.runtime import QwQ
from tests.attacks import Attack, attacks

TokenCounter = Callable[[list[dict[str, Any]], list[dict[str, Any]]], int]


def ours(qwq: QwQ) -> TokenCounter:
    """Special tokens in the prompt as we build it."""
    ids = set(qwq._vocabulary.markers.values())  # noqa: SLF001 - a benchmark may look inside
    return lambda messages, tools: sum(token in ids for token in qwq.tokenize(qwq.render(messages, tools)))


def theirs(llama: Llama, ids: set[int]) -> TokenCounter:
    """Special tokens in the prompt as llama-cpp-python's chat completion builds it (chat_formatter_to_chat_completion_handler)."""
    formatter = Jinja2ChatFormatter(llama.metadata["tokenizer.chat_template"], eos_token=card.IM_END, bos_token="")

    def count(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> int:
        result = formatter(messages=messages, tools=tools)
        tokens = llama.tokenize(result.prompt.encode("utf-8"), add_bos=not result.added_special, special=True)
        return sum(token in ids for token in tokens)

    return count


def through(counter: TokenCounter, attack: Attack) -> bool:
    """Whether the attack changed the number of special tokens."""
    return counter(attack.messages, attack.tools) != counter(attack.harmless_messages, attack.harmless_tools)


@click.command()
@click.option("--model", default="demo")
@json_option
def main(model: str, json_path: Path | None) -> None:
    """Count the attacks that get through, by the place they were planted in."""
    with QwQ.load(model) as qwq:
        markers = qwq._vocabulary.markers  # noqa: SLF001 - as above
        llama = Llama(str(find(model).path), n_ctx=512, verbose=False)
        made = attacks(list(markers))
        counters = {"qwq-local": ours(qwq), "llama-cpp-python": theirs(llama, set(markers.values()))}
        got = {name: Counter(attack.place for attack in made if through(counter, attack)) for name, counter in counters.items()}
    table = Table("attacks that get through", ["place", "attacks", *counters])
    for place, count in Counter(attack.place for attack in made).items():
        table.add(place, count, *(got[name][place] for name in counters))
    table.add("all", len(made), *(got[name].total() for name in counters))
    table.show(json_path)


if __name__ == "__main__":
    main()

"""Nothing that people, tools or documents write becomes a special token."""

from __future__ import annotations

from collections.abc import Sequence

from qwq_local.runtime import QwQ
from tests.attacks import COUNT, Attack, attacks


def marker_tokens(qwq: QwQ, messages: Sequence[dict[str, object]], tools: Sequence[dict[str, object]]) -> list[int]:
    ids = set(qwq._vocabulary.markers.values())
    return [token for token in qwq.tokenize(qwq.render(messages, tools)) if token in ids]


def test_none_of_200_attacks_adds_a_special_token(demo: QwQ) -> None:
    made = attacks(list(demo._vocabulary.markers))
    assert len({(attack.place, attack.text) for attack in made}) > COUNT * 0.9

    def gets_through(attack: Attack) -> bool:
        clean = marker_tokens(demo, attack.harmless_messages, attack.harmless_tools)
        return marker_tokens(demo, attack.messages, attack.tools) != clean

    assert [attack for attack in made if gets_through(attack)] == []


def test_the_attacks_would_succeed_if_the_whole_prompt_were_parsed(demo: QwQ) -> None:
    markers = list(demo._vocabulary.markers)
    text = demo.render(attacks(markers)[0].messages).text
    assert sum(text.count(marker) for marker in markers) > len(marker_tokens(demo, attacks(markers)[0].messages, []))

"""What a model writes does nothing but stand there."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.page.conftest import Visit
from tests.page.script import HOSTILE
from tests.page.test_chat import ask, wait_until_done
from tests.serving import Endpoint

pytestmark = pytest.mark.slow
FORBIDDEN = "script, style, link, meta, base, iframe, object, form, video, template, [onclick], [onload]"


def test_no_answer_executes_leaves_the_machine_or_looks_like_the_page(visit: Visit, quick: Endpoint) -> None:
    watched = visit(quick)
    page = watched.page
    for name in HOSTILE:
        ask(page, f"Attack {name}.")
        expect(page.locator(".answer")).to_have_count(list(HOSTILE).index(name) + 1)
        wait_until_done(page)
    page.evaluate("for (const fold of document.querySelectorAll('#log details')) fold.open = true")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#log .prose").locator(FORBIDDEN).count() == 0
    assert page.locator("#log .prose img, #log .thought-text *").count() == 0
    addresses = page.eval_on_selector_all("#log a", "links => links.map(link => link.protocol)")
    assert set(addresses) <= {"http:", "https:", "mailto:"}
    ids = page.eval_on_selector_all("#log [id], #log [name]", "all => all.length")
    assert ids == 0
    text = page.inner_text("#log")
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert page.title() == "Attack script. · QwQ"
    for link in page.locator("#log .prose a").all():
        link.dispatch_event("mouseover")
    assert page.evaluate("window.pwned") is None
    page.reload()
    expect(page.locator(".answer")).to_have_count(len(HOSTILE))
    assert page.evaluate("window.pwned") is None

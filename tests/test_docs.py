"""What the documents say of the program is so."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys

import pytest

from qwq_local.server.wire import Wire
from tests.source import ROOT, in_the_source_tree


@in_the_source_tree
def test_the_help_page_and_the_tree_are_what_the_program_says() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs/pages.py", "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_benchmark_page_says_what_was_measured() -> None:
    page, paths = ROOT / "docs/benchmark_page.py", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, page, "--check"], capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"PYTHONPATH": paths}
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_contributing_tells_of_every_habit_and_of_none_that_is_not() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    told = set(re.findall(r"`make ([a-z]+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert targets - {"list", "setup"} == told


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize(
    ("section", "models"),
    [
        ("`/v1/chat/completions`", ["openai.asked.ChatRequest", "openai.completions.CompletionRequest"]),
        ("`/v1/responses`", ["responses.asked.ResponseRequest"]),
        ("`/v1/messages`", ["anthropic.asked.MessagesRequest", "anthropic.asked.CountRequest"]),
        ("`/chats`", [f"chats.asked.{name}" for name in ("NewChat", "Question", "Again", "Changes", "Options")]),
        ("`/api/chat`", ["ollama.asked.ChatRequest", "ollama.asked.GenerateRequest", "ollama.asked.Options"]),
    ],
)
def test_the_page_of_the_apis_tells_of_every_field(section: str, models: list[str]) -> None:
    page = (ROOT / "docs/api.md").read_text("utf-8")
    [told] = [part for part in page.split("\n## ") if section in part.splitlines()[0]]
    told += page.split("\n## ")[1]  # what holds for all of them
    beginnings = re.findall(r"([a-z_]+)…", told)
    for path in models:
        module, _, name = path.rpartition(".")
        model: type[Wire] = getattr(importlib.import_module(f"qwq_local.server.{module}"), name)
        for field in model.model_fields.keys() | model.refused.keys():
            is_told = re.search(rf"\b{field}\b", told) or any(field.startswith(beginning) for beginning in beginnings)
            assert is_told, f"docs/api.md says nothing of {name}'s {field}: tell there whether it is honoured, without effect, or refused"

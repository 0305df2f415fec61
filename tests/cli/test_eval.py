"""`qwq eval`: tables, pages and JSON, what is kept, and runs that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwq_local.evaluation.journal import Journal, read_run
from qwq_local.evaluation.sample import Sample
from tests.evaluation.samples import PLAIN, head
from tests.programs import PROGRAM, Qwq, assert_told, posix
from tests.serving import Endpoint
from tests.waiting import wait_until

SUMS = [
    {"id": f"sum {i}", "prompt": f"What is {i} + {i + 7}?", "maths": str(2 * i + 7), "group": "even" if i % 2 else "odd"} for i in range(12)
]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A file of questions that the demo model can answer, and one line that is none."""
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [*SUMS[:6], {"prompt": "?"}]), "utf-8")
    return path


def kept(path: Path, rights: str, **changes: Any) -> Path:
    """A run with such answers: r is right, w is wrong."""
    with Journal(path, head(len(rights), **changes)) as journal:
        for i, letter in enumerate(rights):
            why = "" if letter == "r" else "<b>7</b>, not 8"
            journal.add(replace(PLAIN, question=f"q{i}", is_right=letter == "r", why=why, content="<script>alert(1)</script>"))
    return path


def test_a_model_is_asked_graded_and_its_run_kept(qwq: Qwq, tasks: Path, tmp_path: Path) -> None:
    ended = qwq("eval", tasks, "-m", "demo", "--out", tmp_path / "runs")
    assert ended.code == 0, ended.err
    assert "notice: sums, line 7: " in ended.err
    title, _, everything, even, odd, *_, last = ended.out.splitlines()
    assert title.startswith("demo, ")
    assert title.endswith(" on sums: 6 questions")
    assert [line.split()[0] for line in (everything, even, odd)] == ["all", "even", "odd"]
    path = Path(last.removeprefix("Kept: "))
    assert len(read_run(path)[1]) == 6
    before = path.read_bytes()
    assert qwq("eval", tasks, "-m", "demo", "--out", tmp_path / "runs").out == ended.out
    assert path.read_bytes() == before, "nothing was asked again"
    assert qwq("eval", tasks, "-m", "demo", "--out", tmp_path / "runs", "--again").out.splitlines()[0] == title
    assert path.read_bytes() != before, "the seconds differ, at least"


def test_an_endpoint_is_asked_as_a_model_is(qwq: Qwq, tasks: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    here = qwq("eval", tasks, "-m", "demo", "--parallel", "1", "--out", tmp_path / "here", "--json")
    there = qwq("eval", tasks, "--url", endpoint.url + "/v1", "--parallel", "1", "--out", tmp_path / "there", "--json")
    assert (here.code, there.code) == (0, 0), there.err
    mine, other = (json.loads(each.out)["runs"][0] for each in (here, there))
    assert mine["summary"] | {"seconds": 0} == other["summary"] | {"seconds": 0}
    assert json.loads(here.out)["malformed"]["sums"][0]["line"] == 7


def test_runs_of_the_same_questions_are_compared(qwq: Qwq, tmp_path: Path) -> None:
    first = kept(tmp_path / "a.jsonl", "r" * 30, model="large", quantization="Q8_0", model_bytes=10**9)
    second = kept(tmp_path / "b.jsonl", "r" * 18 + "w" * 12, model="small", quantization="Q2_K", model_bytes=10**8)
    other = kept(tmp_path / "c.jsonl", "rrr", digest="other questions")
    ended = qwq("eval", "--run", first, "--run", second, "--run", other)
    assert ended.code == 0, ended.err
    assert "small against large on t: -40.0 points (-57.5 to -22.5), better at 0 and worse at 12 of 30 questions, p = 0.00049" in ended.out
    assert ended.out.count(" against ") == 1
    assert json.loads(qwq("eval", "--run", first, "--run", second, "--json").out)["comparisons"][0]["paired"]["n_worse"] == 12


def test_the_page_needs_nothing_else_and_shows_what_models_wrote_as_text(qwq: Qwq, tmp_path: Path) -> None:
    first = kept(tmp_path / "a.jsonl", "rrrw", model="large", quantization="Q8_0", model_bytes=10**9)
    second = kept(tmp_path / "b.jsonl", "rwww", model="small", quantization="Q2_K", model_bytes=10**8)
    told = tmp_path / "divergence.json"
    told.write_text(json.dumps({"model": "small", "divergence": {"value": 0.2, "median": 0.1, "quantiles": {"0.99": 2.0}}}))
    page = tmp_path / "page.html"
    ended = qwq("eval", "--run", first, "--run", second, "--html", page, "--divergence", told)
    assert (ended.code, ended.err) == (0, f"Written: {page}\n")
    html = page.read_text("utf-8")
    assert html.count("<svg") == 3
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "&lt;b&gt;7&lt;/b&gt;, not 8" in html
    assert "http://www.w3.org" in html
    assert not [part for part in ("src=", 'href="http', "url(http", "@import") if part in html]


def test_what_cannot_be_is_told(qwq: Qwq, tasks: Path, tmp_path: Path) -> None:
    assert_told(qwq("eval"), 2, "No questions")
    assert_told(qwq("eval", tasks, "-m", "demo", "--strict"), 2, "line 7")
    assert_told(qwq("eval", tmp_path / "none.jsonl", "-m", "demo"), 2, "none.jsonl")
    assert_told(qwq("eval", "nano", "-m", "demo", "--samples", "0"), 2, "0 answers")
    assert_told(qwq("eval", "--run", tasks), 2, "no run of qwq eval")
    assert_told(qwq("eval", "nano", "--url", "http://127.0.0.1:9/v1"), 1, "127.0.0.1:9")
    assert_told(
        qwq("eval", "--run", kept(tmp_path / "a.jsonl", "rw"), "--divergence", tasks, "--html", tmp_path / "p"), 2, "qwq divergence --json"
    )


def test_the_formats_are_listed(qwq: Qwq) -> None:
    names = [line.split()[0] for line in qwq("eval", "--formats").out.splitlines()]
    assert {"aime", "gpqa", "humaneval", "ifeval", "bfcl"} < set(names)


def plain(samples: list[Sample]) -> list[Sample]:
    """Without what differs from run to run."""
    return sorted((replace(sample, seconds=0.0) for sample in samples), key=lambda sample: (sample.question, sample.index))


@posix
@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_run_ended_in_the_middle_comes_to_the_same_without_asking_twice(qwq: Qwq, tmp_path: Path, signal_number: int) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in SUMS), "utf-8")

    def command(out: str) -> list[str | Path]:
        return ["eval", path, "-m", "demo", "--parallel", "1", "--samples", "2", "--out", tmp_path / out]

    with subprocess.Popen(
        [*PROGRAM, *command("cut")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    ) as running:
        wait_until(lambda: any(file.read_bytes().count(b"\n") > 3 for file in (tmp_path / "cut").glob("*.jsonl")))
        running.send_signal(signal_number)
        assert running.wait(30) in {-signal.SIGKILL, 130}
    file = next((tmp_path / "cut").glob("*.jsonl"))
    before = file.read_bytes()
    n_before = before.count(b"\n") - 1
    assert 3 <= n_before < 24
    assert qwq(*command("cut")).code == 0
    assert file.read_bytes().startswith(before[: before.rfind(b"\n") + 1]), "what was graded stands as it stood"
    assert qwq(*command("whole")).code == 0
    whole = next((tmp_path / "whole").glob("*.jsonl"))
    assert plain(read_run(file)[1]) == plain(read_run(whole)[1])

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qwq_local.cli import _run
from qwq_local.cli.plan import command
from qwq_local.cli.planning import known_tuning, print_plan
from qwq_local.machine import tuned
from qwq_local.machine.device import DeviceMemory
from qwq_local.machine.machine import GIB, Machine
from qwq_local.machine.tuned import Kept, TunedFor
from qwq_local.models.inventory import demo_model
from qwq_local.offers import offers_here
from qwq_local.plan.plan import PlanWish, make_plan
from qwq_local.plan.shape import QWQ_32B
from qwq_local.survey import what_computes
from qwq_local.tuning import UNTUNED, Tuning
from tests.ghosts import write_ghost

CANDIDATE_KEYS = {"quant", "file_bytes", "fits", "gpu_layers", "n_ctx", "kv_type", "memory", "tokens_per_second", "quality_loss", "why"}


def plan(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def text(*arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_json_is_what_is_promised() -> None:
    found = plan("--vram", "24", "--ram", "64")
    assert found.keys() == {"hardware", "draft", "chosen", "candidates", "tuning"}
    assert found["draft"] is None
    assert found["hardware"]["ram_total_bytes"] == 64 * GIB
    gpu, cpu = found["hardware"]["devices"]
    assert (gpu["kind"], gpu["total_bytes"], gpu["free_bytes"]) == ("gpu", 24 * GIB, 24 * GIB)
    assert cpu["kind"] == "cpu"
    chosen = found["chosen"]
    assert chosen in found["candidates"]
    assert (chosen["quant"], chosen["gpu_layers"], chosen["n_ctx"], chosen["kv_type"]) == ("Q4_K_M", 65, 32768, "q8_0")
    assert chosen["quality_loss"] == 0.0282
    for candidate in found["candidates"]:
        assert candidate.keys() >= CANDIDATE_KEYS
        for part in candidate["memory"]:
            assert part["total_bytes"] == part["weights_bytes"] + part["kv_bytes"] + part["compute_bytes"]
    assert chosen["memory"][1]["device"] == gpu["name"]
    assert chosen["memory"][1]["total_bytes"] < 23 * GIB


def test_what_a_race_costs_is_told() -> None:
    races = plan("--vram", "24", "--ram", "64")["chosen"]["race"]
    assert [race["n_samples"] for race in races] == [2, 3, 5]
    assert [race["tokens_each"] for race in races] == [16384, 10922, 6553]
    assert all(race["is_least"] and 1 < race["slowdown"] < 2 for race in races)
    page = " ".join(text("--vram", "24", "--ram", "64").split())
    assert "A race of 3 (--race 3): each token takes at least 1.1 times as long, and each sample may have 10,922 tokens." in page
    assert plan("--ram", "32")["chosen"]["race"][0]["slowdown"] is None
    assert "A race of 3 (--race 3): each sample may have 10,922 tokens." in text("--ram", "32")
    assert plan("--ram", "16", "--ctx", "131072")["candidates"][0]["race"] == []


def test_several_gpus_a_mac_and_no_gpu_can_be_described() -> None:
    assert len(plan("--vram", "24", "--vram", "24", "--ram", "64")["chosen"]["memory"]) == 3
    mac = plan("--unified", "32")
    assert mac["hardware"]["devices"][0]["total_bytes"] < 32 * GIB
    assert mac["chosen"]["gpu_layers"] == 65
    assert plan("--ram", "32")["chosen"]["gpu_layers"] == 0


def test_bandwidth_can_be_given() -> None:
    slow, fast = (plan("--ram", "32", "--bandwidth", rate)["chosen"]["tokens_per_second"] for rate in ("40", "80"))
    assert fast == pytest.approx(2 * slow, rel=0.01)


def test_a_wished_context_is_kept_or_nothing_is_chosen() -> None:
    assert plan("--vram", "24", "--ram", "64", "--ctx", "65536")["chosen"]["n_ctx"] == 65536
    nothing = plan("--ram", "16", "--ctx", "131072")
    assert nothing["chosen"] is None
    assert all(not candidate["fits"] and "131,072" in candidate["why"] for candidate in nothing["candidates"])
    page = text("--ram", "16", "--ctx", "131072")
    assert "Nothing fits." in page
    assert "--ctx 8192" in page


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ctx", "500000"],
        ["--ctx", "-1"],
        ["--vram", "nan"],
        ["--vram", "-24"],
        ["--ram", "inf"],
        ["--ram", "0"],
        ["--unified", "1e30"],
        ["--unified", "32", "--vram", "8"],
        ["--ram", "16", "--bandwidth", "0"],
        ["--gpu-layers", "-3"],
        ["--vram", "much"],
        ["--kv-type", "q2"],
    ],
)
def test_impossible_wishes_are_wrong_usage_told_in_a_line_or_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["plan", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "rror" in printed.err
    assert "Traceback" not in printed.err
    assert any(option.removeprefix("--") in printed.err for option in arguments[::2])


def test_the_page_shows_machine_choice_bars_and_the_others() -> None:
    page = text("--vram", "24", "--ram", "64")
    assert page.splitlines()[0].startswith("GPU0")
    assert "QwQ-32B:Q4_K_M" in page
    assert "qwq pull Q4_K_M" in page
    assert "weights 18.1 GiB" in page
    assert "why not" in page
    assert "\x1b" not in page
    assert max(map(len, page.splitlines())) <= 120


def test_this_machine_is_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan()
    assert found["hardware"]["ram_available_bytes"] > 0
    monkeypatch.setattr("qwq_local.survey.list_devices", lambda: (DeviceMemory("CUDA0", "a card", "gpu", 48 * GIB, 48 * GIB),))
    assert plan()["chosen"]["quant"] == "Q8_0"
    assert plan("--bandwidth", "100")["chosen"]["quant"] == "Q8_0"
    assert [device["name"] for device in plan("--vram", "24")["hardware"]["devices"]] == ["GPU0", "CPU"]


def test_devices_that_cannot_be_asked_for_become_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[DeviceMemory, ...]:
        raise OSError("no library")

    monkeypatch.setattr("qwq_local.survey.list_devices", fail)
    assert "no library" in plan()["hardware"]["notes"][0]
    assert "no library" in text()


def test_files_here_are_marked_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwq_local.offers import offer_to_pull

    monkeypatch.setenv("QWQ_MODELS", str(tmp_path))
    with (tmp_path / "QwQ-32B-Q4_K_M.gguf").open("wb") as file:
        file.write(header_of_qwq())
        file.truncate(offer_to_pull("Q4_K_M").file_bytes)
    found = plan("--vram", "24", "--ram", "64")
    assert found["chosen"]["is_here"]
    assert [candidate["is_here"] for candidate in found["candidates"]].count(True) == 1
    assert "qwq ask -m QwQ-32B:Q4_K_M" in text("--vram", "24", "--ram", "64")
    assert "Q4_K_M*" in text("--vram", "48", "--ram", "64")


def header_of_qwq() -> bytes:
    """The demo's header would do for any file: the plan knows QwQ-32B's tensors by the file's name and length."""
    from qwq_local.models.inventory import demo_model

    return demo_model().path.read_bytes()


def test_a_draft_model_takes_its_place_first(nano_draft: Path) -> None:
    alone, beside = plan("--vram", "24", "--ram", "64"), plan("--vram", "24", "--ram", "64", "--draft-model", str(nano_draft))
    draft = beside["draft"]
    assert (draft["name"], draft["n_ctx"], draft["kv_type"], draft["gpu_layers"]) == (str(nano_draft), 512, "f16", 4)
    assert [part["device"] for part in draft["memory"]] == ["CPU", "GPU0"]
    assert beside["hardware"] == alone["hardware"]
    assert beside["chosen"]["tokens_per_second"] == alone["chosen"]["tokens_per_second"]
    page = " ".join(text("--ram", "64", "--draft-model", str(nano_draft)).split())
    assert f"Draft {nano_draft} takes 9 MiB of RAM first, for 512 tokens of context" in page


def test_where_nothing_fits_beside_a_draft_model_its_share_is_told(nano_draft: Path) -> None:
    nothing = plan("--ram", "6", "--draft-model", str(nano_draft))
    assert nothing["chosen"] is None
    assert nothing["draft"]["name"] == str(nano_draft)
    assert all(candidate["why"].endswith(f"beside the 9 MiB of the draft model {nano_draft}.") for candidate in nothing["candidates"])


def test_a_draft_model_is_held_against_the_chosen_file_where_that_is_here(
    nano_draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path))
    nano = tmp_path / "QwQ-32B-Q4_K_M.gguf"
    nano.write_bytes(demo_model().path.read_bytes())
    assert plan("--ram", "64", "--draft-model", str(nano_draft))["chosen"]["is_here"]
    assert f"qwq ask -m QwQ-32B:Q4_K_M --draft-model {nano_draft}" in text("--ram", "64", "--draft-model", str(nano_draft))
    assert _run(["plan", "--ram", "64", "--draft-model", "demo"]) == 1
    assert "demo has 3 MiB of weights, and QwQ-32B:Q4_K_M itself" in capsys.readouterr().err
    assert _run(["plan", "--ram", "64", "--draft-model", "none.gguf"]) == 1
    assert "The draft model cannot be used: The model 'none.gguf' does not exist." in capsys.readouterr().err


def test_what_was_tuned_for_the_chosen_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QWQ_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("QWQ_DATA", str(tmp_path / "data"))
    (tmp_path / "models").mkdir()
    path = write_ghost(tmp_path / "models" / "QwQ-32B-Q4_K_M.gguf", QWQ_32B, "Q4_K_M")
    machine = Machine((), 64 * GIB, 64 * GIB, 76.8e9)
    found = make_plan(machine, [offer for offer in offers_here() if offer.is_here], PlanWish())
    assert known_tuning(found) == UNTUNED
    for kind, tuning in (("gpu", Tuning(n_threads=5)), ("cpu", Tuning(n_threads=3, n_ubatch=256))):
        key = TunedFor(path.name, path.stat().st_size, kind, what_computes(machine))
        tuned.keep(tmp_path / "data" / "cache", Kept(key, tuning, {}, "2026-11-30"))
    assert known_tuning(found) == Tuning(n_threads=3, n_ubatch=256)
    print_plan(found, as_json=False, tuning=known_tuning(found))
    assert "Tuned    threads 3, micro-batch 256" in capsys.readouterr().out
    print_plan(found, as_json=True, tuning=known_tuning(found))
    assert json.loads(capsys.readouterr().out)["tuning"] == {"n_threads": 3, "n_ubatch": 256}
    assert known_tuning(make_plan(machine, [], PlanWish())) == UNTUNED

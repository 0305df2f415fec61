"""The image recipes fit the program and each other, where no linter would see that they do not."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import tomllib
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped] # comes with huggingface-hub

from qwq_local.builds import REQUIREMENT
from qwq_local.configuration import find_folders, read_configuration
from qwq_local.server.guard import OPEN_PATHS
from qwq_local.server.settings import ServerSettings
from tests.programs import Qwq
from tests.source import ROOT

RECIPES: Final = ROOT / "packaging/container"
FOR_GPU: Final = "Containerfile.cuda"
KINDS: Final = ("Containerfile", FOR_GPU)
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def steps(kind: str) -> list[tuple[str, str]]:
    """Instruction and argument of each step."""
    lines = [line for line in (RECIPES / kind).read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in "\n".join(lines).replace("\\\n", "").splitlines())]


def last_stage(kind: str) -> list[tuple[str, str]]:
    found = steps(kind)
    return found[max(at for at, (word, _) in enumerate(found) if word == "FROM") :]


def argument(kind: str, name: str) -> str:
    """What an ARG is by default."""
    [found] = [shlex.split(rest)[0].partition("=")[2] for word, rest in steps(kind) if word == "ARG" and rest.startswith(f"{name}=")]
    return found


def environment(kind: str) -> dict[str, str]:
    [told] = [rest for word, rest in last_stage(kind) if word == "ENV"]
    return dict(pair.split("=", 1) for pair in shlex.split(told))


def listed(kind: str, instruction: str) -> list[str]:
    """The JSON list that a step of the last stage holds."""
    [found] = [rest for word, rest in last_stage(kind) if word == instruction]
    return [str(part) for part in json.loads(found[found.index("[") :])]


@pytest.fixture
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((RECIPES / "compose.yaml").read_text("utf-8")))


def said_to_qwq(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith("QWQ_")} | {"QWQ_CONFIG": "/nowhere/config.toml"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_knows_what_an_image_sets(kind: str) -> None:
    variables = said_to_qwq(environment(kind))
    said, folders = read_configuration(variables).arguments, find_folders(variables)
    assert (said["host"], said["port"]) == ("0.0.0.0", ServerSettings.port)  # noqa: S104 - an image is there to be reached
    assert sorted(map(str, (folders.data, folders.models))) == listed(kind, "VOLUME")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_starts_a_command_of_the_program_on_the_port_that_it_opens(kind: str, qwq: Qwq) -> None:
    assert listed(kind, "ENTRYPOINT") == ["qwq"]
    assert qwq(*listed(kind, "CMD"), "--help").code == 0
    assert ("EXPOSE", environment(kind)["QWQ_PORT"]) in last_stage(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_health_is_asked_where_the_server_tells_it_without_a_key(kind: str) -> None:
    [asked] = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", listed(kind, "HEALTHCHECK")[-1])
    assert asked == (environment(kind)["QWQ_PORT"], "/health")
    assert asked[1] in OPEN_PATHS


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_an_image_runs_as_root(kind: str) -> None:
    words = [word for word, _ in last_stage(kind)]
    assert words.count("USER") == 1
    assert "RUN" not in words[words.index("USER") :]
    [user] = [rest for word, rest in last_stage(kind) if word == "USER"]
    assert f"--uid {user.split(':')[0]} " in " ".join(rest for word, rest in last_stage(kind) if word == "RUN")
    assert int(user.split(":")[0]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_holds_the_llama_cpp_python_that_the_package_needs_and_extras_that_there_are(kind: str) -> None:
    assert argument(kind, "LLAMA_CPP_PYTHON") == REQUIREMENT
    extras = re.findall(r"'\.\[([\w,]+)\]'", " ".join(rest for word, rest in steps(kind) if word == "RUN"))
    assert extras
    assert set(extras[0].split(",")) <= PROJECT["project"]["optional-dependencies"].keys()


def test_the_images_differ_only_in_what_a_gpu_needs() -> None:
    for_cpu, for_gpu = ([step for step in last_stage(kind) if not step[1].startswith("LIBRARIES=")] for kind in KINDS)
    assert for_cpu == for_gpu
    major, minor, _ = argument(FOR_GPU, "CUDA").split(".")
    assert f"libcublas-{major}-{minor}" in argument(FOR_GPU, "LIBRARIES").split()
    assert "-DGGML_CUDA=ON" in argument(FOR_GPU, "CMAKE_ARGS").split()


def test_the_image_has_a_python_that_the_package_is_tested_with() -> None:
    [version] = re.findall(r"python:([\d.]+)-", argument("Containerfile", "BASE"))
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


def test_what_the_build_reads_is_not_kept_from_it() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    let_in = [line[1:] for line in lines if line.startswith("!")]
    hatch = PROJECT["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    needed = ["pyproject.toml", PROJECT["project"]["readme"], hatch["version"]["path"], hatch["metadata"]["hooks"]["custom"]["path"]]
    needed += [*PROJECT["project"]["license-files"], *wheel["packages"], *wheel.get("shared-data", {}), *wheel.get("force-include", {})]
    kept_out = [path for path in needed if not any(fnmatch.fnmatch(path, line) or path.startswith(f"{line}/") for line in let_in)]
    assert lines[0] == "*"
    assert not kept_out, f".dockerignore keeps out {kept_out}"


@pytest.mark.parametrize("service", ["cpu", "cuda"])
def test_a_composed_service_can_do_little_and_keeps_what_is_dear(compose: dict[str, Any], service: str) -> None:
    asked = compose["services"][service]
    kind = (ROOT / asked["build"]["dockerfile"]).name
    assert (RECIPES / asked["build"]["context"]).resolve() == ROOT
    assert (asked["read_only"], asked["cap_drop"], asked["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert asked["ports"] == [f"127.0.0.1:{ServerSettings.port}:{environment(kind)['QWQ_PORT']}"]
    assert sorted(volume.partition(":")[2] for volume in asked["volumes"]) == listed(kind, "VOLUME")
    assert asked["healthcheck"]["test"] == ["CMD", *listed(kind, "HEALTHCHECK")]
    assert float(asked["stop_grace_period"].removesuffix("s")) > ServerSettings.stop_seconds


@pytest.mark.parametrize("service", ["cpu", "cuda"])
def test_a_composed_service_reads_its_key_from_a_secret_that_git_does_not_keep(compose: dict[str, Any], service: str) -> None:
    asked = compose["services"][service]
    variables = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in asked["environment"].items()}
    assert read_configuration(said_to_qwq(variables)).arguments == {"key_file": f"/run/secrets/{asked['secrets'][0]}"}
    file = compose["secrets"][asked["secrets"][0]]["file"].removeprefix("./")
    assert f"/packaging/container/{file}" in (ROOT / ".gitignore").read_text("utf-8").splitlines()

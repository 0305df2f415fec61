"""The build that somebody asks for by name: whether there is one, whether it can run here, and what it must show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qwq_local.builds import NAMES, Vendor, Version, suiting, why_unfit
from qwq_local.doctor.condition import Facts
from qwq_local.doctor.remedy import Choice, expected, named
from qwq_local.doctor.trial import Expected, Sought
from qwq_local.errors import SettingsError
from tests.doctor.test_diagnosis import CPU_BUILD, GTX, HEALTHY, M4, MAC, NO_GPU, RADEON, RTX, STORE, WINDOWS, on

MAXWELL, PASCAL, TURING, HOPPER = (replace(HEALTHY, gpus=(replace(RTX, capability=each),)) for each in ((5, 2), (6, 1), (7, 5), (9, 0)))
SOUGHT = Sought("NVIDIA", RTX.name)
CUDA_BUILDS = {name for name in NAMES if name.startswith("cu")}
APPLES: list[list[Vendor]] = [[], ["Apple"]]
OTHERS: list[list[Vendor]] = [[], ["NVIDIA"], ["AMD"]]


@pytest.mark.parametrize(
    ("facts", "fitting"),
    [
        (HEALTHY, {"cpu", "cu118", "cu121", "cu122", "cu123", "cu124", "vulkan", "source"}),
        (on(HEALTHY, driver_cuda=None), {"cpu", "vulkan", "source"}),
        (on(HEALTHY, driver_cuda=None, rocm=(7, 2)), {"cpu", "rocm72", "vulkan", "source"}),
        (on(HEALTHY, driver_cuda=None, rocm=(8, 0)), {"cpu", "vulkan", "source"}),
        (on(HEALTHY, machine="aarch64"), {"cpu", "source"}),
        (on(TURING, driver_cuda=(13, 2)), CUDA_BUILDS | {"cpu", "vulkan", "source"}),
        (on(PASCAL, driver_cuda=(13, 2)), CUDA_BUILDS - {"cu130", "cu132"} | {"cpu", "vulkan", "source"}),
        (MAXWELL, {"cpu", "vulkan", "source"}),
        (on(HOPPER, driver_cuda=(11, 8)), {"cpu", "vulkan", "source"}),
        (replace(HEALTHY, system=MAC), {"cpu", "metal", "source"}),
        (replace(HEALTHY, system=replace(WINDOWS, rocm=(7, 2))), {"cpu", "cu118", "cu124", "vulkan", "source"}),
    ],
)
def test_a_build_that_cannot_run_here_is_refused_with_the_reason_and_the_one_that_does(facts: Facts, fitting: set[str]) -> None:
    for name in NAMES:
        if name in fitting:
            assert named(facts, name).name == name
        else:
            with pytest.raises(SettingsError, match=f"build is '{name}', which does not fit this machine: .+") as caught:
                named(facts, name)
            assert caught.value.hint.endswith("does.")


@pytest.mark.parametrize("name", ["cuda", "CPU", "cu126", ""])
def test_a_build_that_there_is_not_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(SettingsError, match="none of that name") as caught:
        named(HEALTHY, name)
    assert "cu124" in caught.value.hint


def test_what_suits_a_machine_fits_it() -> None:
    for os in ("Linux", "Windows", "Darwin"):
        for cuda in (None, (10, 2), (11, 8), (12, 3), (12, 9), (13, 9)):
            for rocm in (None, (6, 1), (7, 2), (7, 9), (8, 0)):
                for vendors in APPLES if os == "Darwin" else OTHERS:
                    for gpus in ((), ((5, 2),), ((6, 1), (12, 0)), ((9, 0),)):
                        assert why_unfit(suiting(vendors, os, cuda, rocm, gpus), os, "x86_64", cuda, rocm, gpus) == ""


@pytest.mark.parametrize(
    ("capabilities", "driver_cuda", "build"),
    [
        ([], (13, 2), "cu132"),
        ([(7, 5)], (13, 2), "cu132"),
        ([(7, 0)], (13, 2), "cu125"),
        ([(6, 1)], (13, 2), "cu125"),
        ([(6, 1)], (12, 4), "cu124"),
        ([(12, 0), (6, 1)], (13, 2), "cu125"),
        ([(5, 2)], (13, 2), "vulkan"),
        ([(8, 9)], (11, 8), "cu118"),
        ([(9, 0)], (11, 8), "vulkan"),
        ([(12, 0)], (12, 9), "cu125"),
    ],
)
def test_the_newest_build_is_chosen_that_has_kernels_for_every_gpu(capabilities: list[Version], driver_cuda: Version, build: str) -> None:
    assert suiting({"NVIDIA"}, "Linux", driver_cuda, capabilities=capabilities) == build


@pytest.mark.parametrize(
    ("facts", "choice", "shows"),
    [
        (HEALTHY, "cpu", Expected()),
        (HEALTHY, "cu124", Expected(offloads=True, gpus=(SOUGHT,))),
        (replace(HEALTHY, gpus=(RADEON,)), "vulkan", Expected(offloads=True, gpus=(Sought("AMD"),))),
        (replace(HEALTHY, gpus=(RTX, RTX, GTX)), "cu124", Expected(offloads=True, gpus=(SOUGHT, Sought("NVIDIA", GTX.name)))),
        (replace(HEALTHY, gpus=(RTX, RADEON)), "cu124", Expected(offloads=True, gpus=(SOUGHT,))),
        (replace(HEALTHY, gpus=(RTX, RADEON)), "rocm72", Expected(offloads=True, gpus=(Sought("AMD"),))),
        (replace(HEALTHY, gpus=(RTX, RADEON)), "vulkan", Expected(offloads=True, gpus=(SOUGHT, Sought("AMD")))),
        (NO_GPU, "vulkan", Expected(offloads=True)),
        (NO_GPU, "source", Expected()),
        (HEALTHY, "source", Expected(offloads=True, gpus=(SOUGHT,))),
        (Facts(MAC, CPU_BUILD, STORE, (M4,)), "metal", Expected(offloads=True, gpus=(Sought("Apple", "Apple M4 Max"),))),
    ],
)
def test_a_build_for_gpus_must_show_one_of_those_that_it_is_for(facts: Facts, choice: str, shows: Expected) -> None:
    assert expected(facts, Choice(choice)) == shows

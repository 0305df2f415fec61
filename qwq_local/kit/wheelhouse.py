"""A kit's wheels: this program, and all that it needs on the other machine, each in the version that runs here."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from qwq_local.errors import InstallationError, WheelLackingError
from qwq_local.kit import llama_wheel, pip_runs
from qwq_local.kit.earlier import earlier_kit
from qwq_local.kit.here import requires_here, version_here
from qwq_local.kit.own_wheel import make_own_wheel
from qwq_local.kit.requirements import Need, needs, pinned
from qwq_local.kit.wheels import Wheel, preferred, read_wheel, read_wheels
from qwq_local.kit.wish import KitListener, KitWish

MAX_ROUNDS: Final = 12
"""What the wheels that were brought need in turn is brought in the next round; a chain of this length is none."""
COMPILED_PERCENT: Final = 135
"""What an installed wheel takes beside what it holds: Python's modules are compiled then."""
INCOMING: Final = ".incoming"
LLAMA: Final = canonicalize_name(llama_wheel.NAME)


@dataclass(frozen=True)
class Gathered:
    """A kit's wheels: what pip is to install of them, what a processor needs for them, and what they take once installed."""

    wheels: tuple[Wheel, ...]
    requirement: str
    cpu_flags: tuple[str, ...]
    unpacked_bytes: int


@dataclass
class Wheelhouse:
    """The folder of wheels while it is filled; `kept` is where compiled wheels are kept for the next kit."""

    folder: Path
    wish: KitWish
    kept: Path
    listener: KitListener
    wheels: list[Wheel] = field(default_factory=list)

    def gather(self) -> Gathered:
        """Bring what is lacking; what is there and right stays. Raises InstallationError, or OSError where the disk refuses."""
        shutil.rmtree(self._incoming, ignore_errors=True)  # what a run that was broken off left may be cut short
        self._incoming.mkdir(parents=True)
        self.wheels = read_wheels(self.folder)
        self.listener.begin("packing this program")
        own = self._take(make_own_wheel(self._incoming))
        extras = f"[{','.join(self.wish.extras)}]" if self.wish.extras else ""
        requirement = f"{own.name}{extras}=={own.version}"
        flags = self._provide_llama()
        chosen = {python: self._settle([requirement, "pip"], python) for python in self.wish.pythons}
        every = {wheel.path: wheel for wheels in chosen.values() for wheel in wheels}
        for wheel in self.wheels:
            if wheel.path not in every:
                wheel.path.unlink()
        shutil.rmtree(self._incoming)
        unpacked_bytes = max(sum(wheel.unpacked_bytes for wheel in wheels) for wheels in chosen.values()) * COMPILED_PERCENT // 100
        return Gathered(tuple(sorted(every.values(), key=lambda wheel: wheel.path.name)), requirement, flags, unpacked_bytes)

    @property
    def _incoming(self) -> Path:
        return self.folder / INCOMING

    def _take(self, path: Path) -> Wheel:
        """A wheel that was brought, under its name in the folder."""
        target = path.replace(self.folder / path.name)
        wheel = read_wheel(target)
        if wheel is None:
            target.unlink()
            raise InstallationError(f"{path.name} arrived damaged.", hint="Run the same command again.")
        self.wheels = [known for known in self.wheels if known.path != target] + [wheel]
        return wheel

    def _provide_llama(self) -> tuple[str, ...]:
        """Have llama.cpp there, and say what it needs of a processor."""
        wish, version = self.wish, version_here(LLAMA)
        if version is None:
            raise InstallationError(f"{llama_wheel.NAME} is not installed here.", hint="qwq doctor --fix")
        is_there = any(wheel.name == LLAMA and wheel.version == version for wheel in self.wheels)
        earlier = earlier_kit()
        if earlier and earlier.holds_llama_of(wish) and (kept := earlier.wheels(wish, wish.pythons[0], [LLAMA])):
            if not is_there:
                self._take(Path(shutil.copy(kept[0], self._incoming)))
            return earlier.manifest.cpu_flags
        is_compiled = llama_wheel.compiles_here(wish.platform, wish.chosen_build)
        if not is_there:
            self._take(self._bring_llama(version, is_compiled=is_compiled).path)
        return llama_wheel.flags_needed(wish.platform, is_compiled=is_compiled, is_native=wish.is_native)

    def _bring_llama(self, version: Version, *, is_compiled: bool) -> Wheel:
        wish = self.wish
        if is_compiled:
            self.listener.begin("compiling llama.cpp, which takes some minutes the first time")
            return llama_wheel.compile_wheel(version, wish.chosen_build, self._incoming, self.kept, is_native=wish.is_native)
        self.listener.begin("bringing llama.cpp")
        return llama_wheel.fetch_wheel(version, wish.chosen_build, wish.platform, wish.pythons[0], self._incoming)

    def _settle(self, roots: Sequence[str], python: str) -> list[Wheel]:
        """The wheels for one version of Python, brought until nothing that one of them needs is lacking."""
        tags = frozenset(self.wish.platform.tags(python))
        lacking: dict[NormalizedName, Need] = {}
        for _ in range(MAX_ROUNDS):
            suiting = [wheel for wheel in self.wheels if wheel.runs_on(tags)]
            found = needs(roots, self.wish.platform.environments(python), lambda name: _requires(suiting, name))  # noqa: B023 - used at once
            chosen = {name: _fitting(suiting, name, need) for name, need in found.items()}
            lacking = {name: need for name, need in found.items() if not chosen[name]}
            if not lacking:
                return [preferred(wheels, self.wish.platform, python) for wheels in chosen.values()]
            self._bring(lacking, python)
        raise InstallationError(
            f"The wheels for {self.wish.platform.name} and Python {python} want what contradicts each other: {', '.join(lacking)}.",
            hint="Upgrade qwq-local and what it needs here, and make the kit again.",
        )

    def _bring(self, lacking: dict[NormalizedName, Need], python: str) -> None:
        """Bring a wheel of each. Raises InstallationError that names all that have none."""
        asked = {name: pinned(name, need, version_here(name)) for name, need in lacking.items()}
        earlier = earlier_kit()
        for path in earlier.wheels(self.wish, python, lacking) if earlier else []:
            del asked[canonicalize_name(self._take(Path(shutil.copy(path, self._incoming))).name)]
        without: list[str] = []
        while asked:
            self.listener.begin(f"bringing wheels of {len(asked)} packages for {self.wish.platform.name} and Python {python}")
            try:
                pip_runs.download(list(asked.values()), self.wish.platform, python, self._incoming)
                asked = {}
            except WheelLackingError as error:
                name = canonicalize_name(error.package)
                if name not in asked:
                    raise
                requirement = asked.pop(name)
                if not self._builds(requirement, python):
                    without.append(requirement)
        for path in sorted(self._incoming.glob("*.whl")):
            self._take(path)
        if without:
            raise InstallationError(
                f"There are no wheels for {self.wish.platform.name} and Python {python} of {', '.join(sorted(without))}.",
                hint="Take another --python or --platform; or make the kit on such a machine.",
            )

    def _builds(self, requirement: str, python: str) -> bool:
        """Whether a wheel for that machine comes of building it here, as of what has no compiled part."""
        apart = self._incoming / "built"
        try:
            pip_runs.build(requirement, apart)
        except InstallationError:
            return False
        made = read_wheels(apart)
        tags = frozenset(self.wish.platform.tags(python))
        for wheel in made:
            if wheel.runs_on(tags):
                wheel.path.replace(self._incoming / wheel.path.name)
        shutil.rmtree(apart)
        return any(wheel.runs_on(tags) for wheel in made)


def _requires(wheels: Iterable[Wheel], name: NormalizedName) -> Sequence[str] | None:
    """What a package needs: as its wheel says, of several that of the version here; without one, as what is installed here says."""
    here = version_here(name)
    said = [wheel for wheel in wheels if wheel.name == name]
    return max(said, key=lambda wheel: (wheel.version == here, wheel.version)).requires if said else requires_here(name)


def _fitting(wheels: Iterable[Wheel], name: NormalizedName, need: Need) -> list[Wheel]:
    here = version_here(name)
    exact = here if here is not None and need.allows(here) else None
    return [wheel for wheel in wheels if wheel.name == name and need.allows(wheel.version) and exact in {None, wheel.version}]

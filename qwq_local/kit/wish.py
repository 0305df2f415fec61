"""What a kit is to hold (data)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qwq_local.errors import SettingsError
from qwq_local.kit.platforms import PYTHONS, Platform

EXTRAS = ("eval", "mcp")


@dataclass(frozen=True)
class KitWish:
    """What is asked for: models by quantization or by name, and for which machine. Raises SettingsError for what there is not."""

    platform: Platform
    pythons: tuple[str, ...]
    quants: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    build: str = ""
    extras: tuple[str, ...] = ()
    is_native: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        _require_known("Python", self.pythons or ["no version at all"], PYTHONS)
        _require_known("extra", self.extras, EXTRAS)
        if self.build:
            _require_known(f"build for {self.platform.name}", [self.build], self.platform.builds)

    @property
    def chosen_build(self) -> str:
        """The build of llama.cpp."""
        return self.build or self.platform.default_build

    def options(self) -> tuple[str, ...]:
        """The options of `qwq kit make` that say the same."""
        quants = [word for quant in self.quants for word in ("--quant", quant)]
        models = [word for model in self.models for word in ("--model", model)]
        extras = ["--with", ",".join(self.extras)] if self.extras else []
        where = ["--platform", self.platform.name, "--python", ",".join(self.pythons), "--build", self.chosen_build]
        return (*quants, *models, *where, *extras, *(["--native"] if self.is_native else []))


@dataclass(frozen=True)
class KitListener:
    """Whom the making of a kit tells: of a stage that begins, of bytes (done, and in all) within one, and in words."""

    begin: Callable[[str], None] = lambda _: None
    on_bytes: Callable[[str, int, int], None] = lambda _stage, _done, _total: None
    notice: Callable[[str], None] = lambda _: None


def _require_known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise SettingsError(f"There is no {what} {name!r} for kits.", hint=f"There are: {', '.join(known)}.")

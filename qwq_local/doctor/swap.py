"""llama.cpp exchanged for another build: fetched and tried beside the old one, which is kept, and only then put in its place.

Whatever fails before leaves what is there untouched; whatever fails after puts it back. The record (`swap_record`) says at any moment how
far it is, so that even a kill or a loss of power between two steps can be mended.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from qwq_local.doctor.condition import System
from qwq_local.doctor.fetch import Source, fetching, refused
from qwq_local.doctor.remedy import Choice, hindrance
from qwq_local.doctor.running import Order, Runner, run
from qwq_local.doctor.site import (
    STAGE,
    Installed,
    bring_back,
    clear,
    exchanged,
    files_in,
    find_installed,
    find_site,
    in_the_way,
    left_aside,
)
from qwq_local.doctor.swap_record import Swap, SwapRecord
from qwq_local.doctor.trial import Expected, Tried, trial
from qwq_local.doctor.wheel import check, keep, unpack
from qwq_local.errors import InstallationError, TrialError

BEFORE: Final = "what was before"
OTHER_LIBRARY: Final = "LLAMA_CPP_LIB_PATH"
Teller: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """A build, what it must show when it is tried, and where it comes from."""

    choice: Choice
    expected: Expected
    source: Source


@dataclass(frozen=True)
class Done:
    """What an exchange came to: the builds' name, the versions before (empty: none) and now, and what the trial showed."""

    build: str
    before: str
    tried: Tried


class Swapper:
    """Exchanges the llama.cpp of this environment.

    `data` is the folder of the user's data, `run` starts programs, and `tell` hears of each step.
    """

    def __init__(self, system: System, data: Path, tell: Teller, run: Runner = run, site: Path | None = None) -> None:
        self._system, self._tell, self._run = system, tell, run
        self._site = site or find_site()
        self._stage = self._site / STAGE
        self._record = SwapRecord(data, self._site)

    def steps(self, wish: Wish) -> list[str]:
        """What `exchange` would do, in order."""
        installed = find_installed(self._site)
        keeping = f"as a wheel in {self._record.new_folder()}" if installed else "none is here"
        return [
            _typed(fetching(self._system, wish.choice, wish.source, self._stage)),
            f"Try it there, in a process of its own: it must load, {wish.expected.told}",
            f"Keep llama-cpp-python {installed.version if installed else ''}: {keeping}".replace(" :", ":"),
            f"Exchange the files in {self._site}",
            "Try it once more in its place; where that fails, put the old one back",
        ]

    def exchange(self, wishes: Sequence[Wish]) -> Done:
        """Put the first of these builds in place; the next one is tried where one lacks CUDA's libraries alone.

        Raises InstallationError where none can be: what was there before is there still.
        """
        self.check(wishes)
        with _disk_told(), self._record.locked():
            self._refuse_after_a_break()
            for wish in wishes[:-1]:
                try:
                    return self._exchange(wish)
                except TrialError as error:
                    if not error.lacks_cuda:
                        raise
                    self._tell(f"{error}")
            return self._exchange(wishes[-1])

    def check(self, wishes: Sequence[Wish]) -> None:
        """Raise InstallationError where something hinders them that is known beforehand."""
        for wish in wishes:
            if stop := hindrance(self._system, wish.choice):
                raise InstallationError(stop[0], hint=stop[1])
        if other := os.environ.get(OTHER_LIBRARY):
            raise InstallationError(
                f"{OTHER_LIBRARY} is {other}: llama-cpp-python loads the library there, whatever it brings itself.", hint="Unset it first."
            )

    def undo_steps(self) -> list[str]:
        """What `undo` would do, in order. Raises InstallationError as it does."""
        last = self._undoable()
        return [
            f"Check {self._record.folder / last.kept}",
            f"Exchange the files in {self._site} for those in it: llama-cpp-python {last.before}",
        ]

    def undo(self) -> Done:
        """Put back what was before the last exchange. Raises InstallationError where there was none, or its wheel is damaged."""
        with _disk_told(), self._record.locked():
            self._refuse_after_a_break()
            last = self._undoable()
            self._tell(f"putting llama-cpp-python {last.before} back")
            with self._going(replace(last, build=BEFORE, step="exchanging", is_undo=True)) as installed:
                self._put_back(last.kept)
            self._record.drop(with_done=True)
            return Done(BEFORE, installed.version if installed else "", self._look())

    def mend(self) -> str | None:
        """End an exchange that was broken off, by putting back what was before; what was done, None where there was none.

        Raises InstallationError where the system refuses it.
        """
        with _disk_told(), self._record.locked():
            swap = self._record.going()
            told = self._take_back(swap) if swap else ""
            clear(self._site)
            if swap:
                self._record.drop(with_done=swap.is_undo)
            return f"The exchange for {swap.build} was broken off: {told}." if swap else None

    def mend_steps(self) -> list[str]:
        """What `mend` would do, in order; empty where no exchange was broken off. Raises InstallationError as it does."""
        swap = self._record.broken_off()
        if not swap:
            return []
        if swap.step == "fetching":
            return [f"Delete the half-fetched build {swap.build} in {self._stage}"]
        before = f"llama-cpp-python {swap.before}" if swap.before else "no llama-cpp-python"
        return [f"Put back what was before the exchange for {swap.build} that was broken off: {before}"]

    def _take_back(self, swap: Swap) -> str:
        if swap.step == "fetching":
            return "nothing had been exchanged yet, and the half-fetched build is gone"
        if not swap.kept:
            with exchanged(self._site, self._empty_stage()):
                return "its pieces are gone; before it, there was no llama-cpp-python"
        try:
            check(self._record.folder / swap.kept)
        except InstallationError as error:
            is_back = bring_back(self._site) and not swap.is_undo
            return f"llama-cpp-python {swap.before} is {'back in its place' if is_back else 'lost'} ({error})"
        self._put_back(swap.kept)
        return f"llama-cpp-python {swap.before} is back in its place"

    def _refuse_after_a_break(self) -> None:
        if self._record.going():
            raise InstallationError("An exchange was broken off before.", hint="qwq doctor --fix mends it.")

    def _undoable(self) -> Swap:
        last = self._record.done()
        if not last:
            raise InstallationError(
                "There is nothing to undo: llama-cpp-python was not exchanged here.", hint="qwq doctor --fix does that."
            )
        if not last.kept:
            message = f"There is nothing to put back: there was no llama-cpp-python before {last.build}."
            raise InstallationError(message, hint="For another build: qwq doctor --fix --build cpu")
        return last

    def _exchange(self, wish: Wish) -> Done:
        swap = Swap(wish.choice.name, str(self._site))
        with self._going(swap) as installed:
            self._tell("compiling llama.cpp: this takes minutes" if wish.choice.cmake_args else f"fetching {wish.choice.name}")
            self._fetch(wish)
            self._tell("trying it")
            trial(self._run, wish.expected, self._stage, is_aside=True)
            if installed:
                self._tell(f"keeping llama-cpp-python {installed.version}")
                files = (*installed.files, *in_the_way(self._site, self._stage))
                wheel = keep(self._site, installed.info, files, self._record.new_folder())
                swap = replace(swap, before=installed.version, kept=f"{wheel.parent.name}/{wheel.name}")
            self._record.begin(replace(swap, step="exchanging"))
            self._tell("exchanging the files, and trying it in its place")
            with exchanged(self._site, self._stage):
                tried = trial(self._run, wish.expected, self._site)
                self._record.end()
        return Done(swap.build, swap.before, tried)

    @contextmanager
    def _going(self, swap: Swap) -> Iterator[Installed | None]:
        """An exchange from its beginning to its end; where it fails and nothing is changed, it is as if it had never been."""
        installed = find_installed(self._site)
        self._record.begin(swap)
        try:
            yield installed
        except BaseException:
            if not left_aside(self._site) and set(installed.files if installed else ()) <= set(files_in(self._site)):
                clear(self._site)
                self._record.drop()
            raise

    def _fetch(self, wish: Wish) -> None:
        self._empty_stage()
        ended = self._run(fetching(self._system, wish.choice, wish.source, self._stage))
        if ended.status != 0:
            raise refused(ended, wish.choice, wish.source, self._system)

    def _put_back(self, kept: str) -> None:
        unpack(self._record.folder / kept, self._empty_stage())
        with exchanged(self._site, self._stage):
            pass

    def _look(self) -> Tried:
        """What is there now, if it runs at all: before an exchange it may not have."""
        installed = find_installed(self._site)
        try:
            return trial(self._run, Expected(), self._site)
        except TrialError as error:
            return Tried(installed.version if installed else "", str(error), "")

    def _empty_stage(self) -> Path:
        if self._stage.exists():
            shutil.rmtree(self._stage)
        self._stage.mkdir()
        return self._stage


def _typed(order: Order) -> str:
    """A program as it would be typed, with those of its variables that say what is built."""
    flags = order.environment.get("CMAKE_ARGS")
    return (f"CMAKE_ARGS={shlex.quote(flags)} " if flags else "") + shlex.join(order.arguments)


@contextmanager
def _disk_told() -> Iterator[None]:
    """What the system refuses, in our words."""
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        if error.errno == errno.ENOSPC:
            raise InstallationError(
                f"The disk is full{where}.", hint="Free some space, then try again; what was there still is."
            ) from error
        hint = "Close every other qwq, and run it as the one who installed qwq-local." if isinstance(error, PermissionError) else ""
        raise InstallationError(f"{error.strerror or error}{where}.", hint=hint or "What was there still is.") from error

"""The engine in a process of its own: whatever happens to it, everyone hears of it once, and the next answer is right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from qwq_local.engine import Answering, Event, Failed, Finished, Request, Thinking
from qwq_local.errors import ContextLengthError, DamagedFileError, DecodeError, LoadError, WorkerDiedError
from qwq_local.worker import Stream, Supervisor, Worker
from qwq_local.worker.backoff import Backoff
from qwq_local.worker.child import ChildProcess, call_apart
from qwq_local.worker.messages import GREETING, StartBackend
from qwq_local.worker.process import FLAG
from tests import children
from tests.children import Wire, await_end, await_line
from tests.fakes import FakeBackend
from tests.programs import posix
from tests.waiting import WAIT_SECONDS, end_of, events_of, reason_of, soon

REQUEST = Request((1, 2, 3), 64, seed=3)
LONG = Request((1, 2, 3), 4000, seed=3, stops_repetition=False)
NOW = (0.0,)
"""Waits between starts, where a test is not about them."""


@contextmanager
def supervised(start: StartBackend, **options: Any) -> Iterator[Supervisor]:
    supervisor = Supervisor(start, **{"backoff_seconds": NOW} | options)
    try:
        yield supervisor
    finally:
        soon(supervisor.close)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        yield wire


def pid_of(supervisor: Supervisor) -> int:
    pid = supervisor.status.pid
    assert pid is not None
    return pid


def kill(supervisor: Supervisor, how: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid_of(supervisor), how)


def began(stream: Stream) -> Event:
    """The first event, which has to come before the test goes on."""
    return soon(lambda: next(stream))


def death_of(stream: Stream) -> WorkerDiedError:
    end = end_of(stream)
    assert isinstance(end, Failed)
    assert isinstance(end.error, WorkerDiedError)
    assert end.error.hint
    return end.error


def content(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Thinking | Answering)]


# Answers


def test_a_process_answers_as_a_thread_does() -> None:
    requests = [Request((1, 2), 64, seed=seed, speculates=False) for seed in range(6)]
    worker = Worker(FakeBackend())
    expected = [events_of(worker.submit(request)) for request in requests]
    worker.close()
    with supervised(children.fake) as supervisor:
        found = [events_of(supervisor.submit(request)) for request in requests]
    assert [content(events) for events in found] == [content(events) for events in expected]
    for ends in zip((events[-1] for events in found), (events[-1] for events in expected), strict=True):
        assert [(end.reason, end.usage, end.seed) for end in ends if isinstance(end, Finished)]
        assert len({(end.reason, end.usage, end.seed) for end in ends if isinstance(end, Finished)}) == 1


def test_the_first_request_loads_the_model_and_its_wait_is_told() -> None:
    with supervised(children.fake) as supervisor:
        assert supervisor.status.state == "unloaded"
        end = end_of(supervisor.submit(REQUEST))
        assert isinstance(end, Finished)
        assert end.timings.queued_seconds > 0.001, "no process starts sooner"
        assert (supervisor.status.state, supervisor.status.loaded_share) == ("ready", 1.0)


def test_loading_tells_its_progress_and_is_done_once() -> None:
    shares: list[float] = []
    with supervised(children.fake) as supervisor:
        soon(lambda: supervisor.load(shares.append))
        pid = pid_of(supervisor)
        soon(lambda: supervisor.load(shares.append))
        assert reason_of(supervisor.submit(REQUEST)) == "stop"
        assert pid_of(supervisor) == pid
    assert shares == [0.5, 1.0]


def test_what_a_progress_function_raises_reaches_the_caller() -> None:
    def fail(_: float) -> None:
        raise ZeroDivisionError

    with supervised(children.fake) as supervisor, pytest.raises(ZeroDivisionError):
        soon(lambda: supervisor.load(fail))


def test_a_prompt_without_room_is_refused_where_it_is_handed_in() -> None:
    with supervised(children.fake) as supervisor:
        with pytest.raises(ContextLengthError):
            supervisor.submit(Request((1,) * 64, 64))
        assert isinstance(unrefused := end_of(supervisor.submit(Request((1,) * 64, 1000))), Failed)
        assert isinstance(unrefused.error, ContextLengthError), "nobody knew yet how much room there is"
        with pytest.raises(ContextLengthError) as caught:
            supervisor.submit(Request((1,) * 64, 1000))
        assert caught.value.n_ctx == 64
        assert reason_of(supervisor.submit(REQUEST)) == "stop"


def test_a_request_is_cancelled_while_it_is_written() -> None:
    with supervised(children.endless) as supervisor:
        stream = supervisor.submit(LONG)
        began(stream)
        stream.close()
        assert reason_of(stream) == "cancelled"
        stream.close()
        assert list(stream) == []


def test_a_request_is_cancelled_while_its_prompt_is_read(wire: Wire) -> None:
    """The decode stands still until it is interrupted."""
    with supervised(partial(children.fake, port=wire.port, held=[1])) as supervisor:
        stream = supervisor.submit(REQUEST)
        await_line(wire.accept(), "decode")
        stream.close()
        assert reason_of(stream) == "cancelled"
        assert reason_of(supervisor.submit(REQUEST)) == "stop"


def test_a_request_is_cancelled_while_the_model_is_loaded(wire: Wire) -> None:
    with supervised(partial(children.stuck, port=wire.port)) as supervisor:
        stream, other = supervisor.submit(REQUEST), supervisor.submit(REQUEST)
        await_line(wire.accept(), "loading")
        stream.close()
        end = end_of(stream)
        assert isinstance(end, Finished)
        assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens) == ("cancelled", 3, 0)
        assert end.timings.queued_seconds > 0
        assert supervisor.status.state == "loading"
        soon(supervisor.close)
        assert isinstance(end_of(other), Failed)


def test_what_else_is_asked_of_an_engine_reaches_it(wire: Wire) -> None:
    with supervised(children.endless, make_engine=partial(children.SpyEngine, port=wire.port)) as supervisor:
        supervisor.preread((9, 9), "native")  # forgotten: no model is loaded
        stream = supervisor.submit(LONG)
        connection = wire.accept()
        began(stream)
        supervisor.preread((7, 8), "native")
        await_line(connection, "preread (7, 8) native")
        supervisor.answer_now(stream)
        await_line(connection, "answer now 0")
        stream.close()
        end_of(stream)
        supervisor.answer_now(stream)
        assert reason_of(supervisor.submit(REQUEST)) in ("stop", "length")


def test_the_engines_numbers_are_there_while_a_model_is() -> None:
    with supervised(children.endless) as supervisor:
        assert supervisor.snapshot() is None
        soon(supervisor.load)
        idle = supervisor.snapshot()
        assert idle is not None
        assert idle.running == 0
        stream = supervisor.submit(LONG)
        began(stream)
        busy = supervisor.snapshot()
        assert busy is not None
        assert busy.running == 1
        stream.close()
        end_of(stream)
    assert supervisor.snapshot() is None


# Loading that fails


def test_a_load_error_reaches_everyone_and_the_next_request_tries_again(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.touch()
    with supervised(partial(children.once_there, path=str(damaged))) as supervisor:
        for stream in [supervisor.submit(REQUEST) for _ in range(3)]:
            end = end_of(stream)
            assert isinstance(end, Failed)
            assert isinstance(end.error, DamagedFileError)
            assert (str(end.error), end.error.hint) == ("it ends too early", "Pull it again.")
        with pytest.raises(DamagedFileError):
            soon(supervisor.load)
        assert supervisor.status.state == "unloaded"
        assert isinstance(supervisor.status.last_error, DamagedFileError)
        damaged.unlink()
        assert reason_of(supervisor.submit(REQUEST)) == "stop"
        assert supervisor.status.deaths == 0


def test_an_error_that_nobody_foresaw_is_a_load_error_with_its_text() -> None:
    with supervised(children.mistaken) as supervisor, pytest.raises(LoadError, match="ZeroDivisionError: a bug") as caught:
        soon(supervisor.load)
    assert any("in mistaken" in note for note in caught.value.__notes__), "where it happened is told too"


@posix
def test_a_death_while_loading_reaches_everyone_with_its_last_words(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    with supervised(partial(children.crashing, path=str(mended))) as supervisor:
        for stream in [supervisor.submit(REQUEST) for _ in range(3)]:
            error = death_of(stream)
            assert "SIGABRT while it loaded the model" in str(error)
            assert "GGML_ASSERT(wanted != NULL) failed" in str(error)
        with pytest.raises(WorkerDiedError):
            soon(supervisor.load)
        assert supervisor.status.state == "unloaded", "it is not tried again before somebody asks"
        mended.touch()
        assert reason_of(supervisor.submit(REQUEST)) == "stop"


@posix
def test_after_a_second_death_the_start_waits_and_so_does_who_asks(tmp_path: Path) -> None:
    with supervised(partial(children.crashing, path=str(tmp_path / "mended")), backoff_seconds=(0.0, 1000.0)) as supervisor:
        for _ in range(2):
            death_of(supervisor.submit(REQUEST))
        stream = supervisor.submit(REQUEST)
        with pytest.raises(WorkerDiedError):
            raise supervisor.status.last_error or AssertionError
        assert supervisor.status.pid is None
        stream.close()
        assert reason_of(stream) == "cancelled"
        assert supervisor.status.state == "waiting to start"


def test_waits_grow_until_something_goes_well() -> None:
    backoff = Backoff((0, 1, 5))
    assert [backoff.note_death() for _ in range(5)] == [0, 1, 5, 5, 5]
    backoff.note_success()
    assert [backoff.note_death() for _ in range(2)] == [0, 1]
    assert backoff.deaths == 7


# Death


@posix
def test_a_process_killed_in_mid_answer_fails_each_request_once_and_the_next_answer_is_right() -> None:
    with supervised(children.endless) as supervisor:
        for round_ in range(1, 6):
            streams = [supervisor.submit(replace(LONG, seed=seed)) for seed in range(6)]
            began(streams[0])
            kill(supervisor)
            for stream in streams:
                assert "was ended by SIGKILL while it answered" in str(death_of(stream))
            events = events_of(supervisor.submit(Request((1,), 30, seed=1)))
            assert "".join(event.text for event in content(events) if isinstance(event, Thinking)) == "abcdefghijklmnopqrstuvwxyzabc"
            assert supervisor.status.deaths == round_


@posix
def test_a_process_that_dies_idle_is_started_again_before_anyone_asks(wire: Wire) -> None:
    with supervised(partial(children.fake, port=wire.port)) as supervisor:
        soon(supervisor.load)
        wire.accept()
        kill(supervisor)
        wire.accept()
        assert reason_of(supervisor.submit(REQUEST)) == "stop"
        assert "while it was idle" in str(supervisor.status.last_error)


@posix
@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTERM])
def test_the_signal_is_named_and_a_hint_given(how: signal.Signals) -> None:
    with supervised(children.endless) as supervisor:
        stream = supervisor.submit(LONG)
        began(stream)
        kill(supervisor, how)
        assert how.name in str(death_of(stream))


@posix
def test_last_words_are_told() -> None:
    with supervised(partial(children.aborting, at=3)) as supervisor:
        error = death_of(supervisor.submit(REQUEST))
    assert str(error).endswith("while it answered. It said: first words\nGGML_ASSERT(n_tokens <= n_batch) failed")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_everyone_hears_of_the_end_also_where_the_process_cannot_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that cannot be sent ends the supervisor; one behind it has not been looked at."""
    end, may_go_on = ChildProcess.end, threading.Event()

    def end_badly(child: ChildProcess, grace_seconds: float) -> None:
        end(child, grace_seconds)
        raise PermissionError

    monkeypatch.setattr(ChildProcess, "end", end_badly)
    with supervised(children.endless) as supervisor:
        first = supervisor.submit(LONG)
        first.listen(lambda: may_go_on.wait(WAIT_SECONDS))
        began(first)
        streams = [first, supervisor.submit(replace(LONG, constraint=threading.Lock())), supervisor.submit(LONG)]  # type: ignore[arg-type]
        may_go_on.set()
        assert all(isinstance(end_of(stream), Failed) for stream in streams)


def test_a_process_that_just_ends_has_died_too() -> None:
    with supervised(children.exiting) as supervisor:
        assert "ended with exit code 3 while it answered" in str(death_of(supervisor.submit(REQUEST)))


def test_an_engine_that_dies_of_a_bug_tells_everyone_and_is_replaced(wire: Wire) -> None:
    with supervised(partial(children.broken, port=wire.port)) as supervisor:
        soon(supervisor.load)
        for _ in range(3):
            wire.accept()  # it has been started, again
            end = end_of(supervisor.submit(REQUEST))
            assert isinstance(end, Failed)
            assert isinstance(end.error, DecodeError)
            assert str(end.error) == "ZeroDivisionError: a bug"


@posix
def test_ctrl_c_at_the_terminal_leaves_it_alone() -> None:
    with supervised(children.endless) as supervisor:
        stream = supervisor.submit(LONG)
        began(stream)
        kill(supervisor, signal.SIGINT)
        began(stream)
        stream.close()
        assert reason_of(stream) == "cancelled"
        assert supervisor.status.deaths == 0


@posix
def test_a_parent_that_survives_ctrl_c_keeps_its_process() -> None:
    """The terminal sends the signal to the whole group."""
    code = """
from qwq_local.engine import Request
from qwq_local.worker import Supervisor
from tests import children
supervisor = Supervisor(children.endless)
stream = supervisor.submit(Request((1,), 4000, seed=1, stops_repetition=False))
next(stream)
try:
    print("began", flush=True)
    for _ in range(10**9):
        next(supervisor.submit(Request((1,), 4000, seed=1)))
except KeyboardInterrupt:
    stream.close()
    print([*stream][-1].reason, supervisor.status.deaths)
supervisor.close()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        assert soon(parent.stdout.readline) == "began\n"
        os.killpg(parent.pid, signal.SIGINT)
        assert soon(parent.stdout.read) in ("cancelled 0\n", "length 0\n")


def test_what_is_printed_is_no_message() -> None:
    with supervised(children.noisy) as supervisor:
        assert reason_of(supervisor.submit(REQUEST)) == "stop"


def test_what_is_printed_before_the_first_message_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello from a customised Python')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    with supervised(children.fake) as supervisor:
        assert reason_of(supervisor.submit(REQUEST)) == "stop"


# Ending


def test_idle_for_long_it_is_unloaded_and_loaded_again_on_demand(wire: Wire) -> None:
    with supervised(partial(children.fake, port=wire.port), idle_seconds=0.05) as supervisor:
        for _ in range(3):
            assert reason_of(supervisor.submit(REQUEST)) == "stop"
            await_end(wire.accept())
            assert supervisor.status.state == "unloaded"
            assert supervisor.snapshot() is None
        assert supervisor.status.deaths == 0


def test_a_request_keeps_it_from_being_unloaded() -> None:
    with supervised(children.endless, idle_seconds=0.0) as supervisor:
        assert reason_of(supervisor.submit(replace(LONG, max_tokens=1500))) == "length"


def test_how_long_it_stays_can_be_said_of_one_process(wire: Wire) -> None:
    with supervised(partial(children.fake, port=wire.port)) as supervisor:
        supervisor.keep(0.0)
        supervisor.load()
        first = wire.accept()
        stays = [supervisor.status.stays_seconds]
        supervisor.keep(600.0)
        assert reason_of(supervisor.submit(REQUEST)) == "stop"
        stays.append(supervisor.status.stays_seconds)
        supervisor.keep(0.0)
        await_end(first)
        assert reason_of(supervisor.submit(REQUEST)) == "stop"
        wire.accept()
        stays.append(supervisor.status.stays_seconds)
        assert stays == [None, pytest.approx(600, abs=100), None], "what is said holds for the process that is there"


def test_closing_ends_every_request_and_the_process(wire: Wire) -> None:
    supervisor = Supervisor(partial(children.endless, port=wire.port))
    streams = [supervisor.submit(LONG) for _ in range(6)]
    began(streams[0])
    soon(supervisor.close)
    for stream in streams:
        end = end_of(stream)
        assert isinstance(end, Failed)
        assert isinstance(end.error, DecodeError)
    await_end(wire.accept())
    for refused in (partial(supervisor.submit, REQUEST), supervisor.load):
        with pytest.raises(DecodeError, match="is closed"):
            soon(refused)
    streams[0].close()
    supervisor.preread((1,), "native")
    soon(supervisor.close)
    assert supervisor.status.state == "closed"


def test_closing_before_anything_was_loaded_is_nothing() -> None:
    soon(Supervisor(children.fake).close)


def test_closing_ends_a_process_that_still_loads(wire: Wire) -> None:
    supervisor = Supervisor(partial(children.stuck, port=wire.port))
    stream = supervisor.submit(REQUEST)
    connection = wire.accept()
    await_line(connection, "loading")
    soon(supervisor.close)
    await_end(connection)
    assert isinstance(end_of(stream), Failed)


def test_closing_ends_a_process_whose_decode_cannot_be_interrupted(wire: Wire) -> None:
    supervisor = Supervisor(partial(children.fake, port=wire.port, held=[1], is_deaf=True), grace_seconds=0.1)
    stream = supervisor.submit(REQUEST)
    connection = wire.accept()
    await_line(connection, "decode")
    soon(supervisor.close)
    await_end(connection)
    assert isinstance(end_of(stream), Failed)


@posix
def test_closing_ends_a_process_that_does_not_even_read(wire: Wire) -> None:
    supervisor = Supervisor(partial(children.fake, port=wire.port, n_ctx=10**6), grace_seconds=0.1)
    soon(supervisor.load)
    connection = wire.accept()
    kill(supervisor, signal.SIGSTOP)
    streams = [supervisor.submit(Request((1,) * 100_000, 10**6)) for _ in range(3)]
    soon(supervisor.close)
    await_end(connection)
    assert all(isinstance(end_of(stream), Failed) for stream in streams)


ORPHANS = {
    "idle": ("partial(children.fake, port=port)", "supervisor.load()"),
    "decoding": ("partial(children.fake, port=port, held=[1], is_deaf=True)", "supervisor.submit(Request((1,), 64))"),
    "loading": ("partial(children.stuck, port=port)", "supervisor.load()"),
}


@posix
@pytest.mark.parametrize("moment", ORPHANS)
def test_a_process_does_not_outlive_its_parent(moment: str, wire: Wire) -> None:
    start, act = ORPHANS[moment]
    code = f"""
import threading
from functools import partial
from qwq_local.engine import Request
from qwq_local.worker import Supervisor
from tests import children
port = {wire.port}
supervisor = Supervisor({start})
{act}
threading.Event().wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}) as parent:
        connection = wire.accept()
        if moment != "idle":
            await_line(connection, "decode" if moment == "decoding" else "loading")
        parent.kill()
        await_end(connection)


def test_what_it_takes_is_given_back() -> None:
    """Threads and file descriptors, after two hundred requests, some of them cancelled early, late, or twice, and a death."""
    before = open_files(), threading.active_count()
    with supervised(children.endless) as supervisor:
        streams = [supervisor.submit(replace(LONG, seed=seed, max_tokens=1 + seed % 40)) for seed in range(200)]
        for i, stream in enumerate(streams):
            if i % 3 == 0:
                stream.close()
            if i % 7 == 0:
                began(stream)
                stream.close()
        reasons = [end_of(stream) for stream in streams if not stream._is_over]
        assert all(isinstance(end, Finished) for end in reasons)
        assert supervisor.status.deaths == 0
    assert (open_files(), threading.active_count()) == before


def open_files() -> int:
    process = psutil.Process()
    return int(process.num_fds() if hasattr(process, "num_fds") else process.num_handles())


# Wherever the parent comes from

SCRIPT = """
print("begin")
from functools import partial
from qwq_local.engine import Request
from qwq_local.worker import Supervisor
from tests import children
supervisor = Supervisor(children.fake)
print(list(supervisor.submit(Request((1,), 64, seed=3)))[-1].reason)
supervisor.close()
"""


def run(*command: str, **options: Any) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False, **options
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_script_without_a_main_guard_is_run_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run(sys.executable, str(tmp_path / "script.py")) == "begin\nstop\n"


def test_a_command_and_a_script_from_standard_input_will_do() -> None:
    assert run(sys.executable, "-c", SCRIPT) == "begin\nstop\n"
    assert run(sys.executable, input=SCRIPT) == "begin\nstop\n"


def test_a_module_beside_the_user_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "pickle.py").write_text("raise ImportError('not that one')")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text(SCRIPT)
    assert run(sys.executable, str(tmp_path / "script" / "script.py"), cwd=tmp_path) == "begin\nstop\n"


def test_a_frozen_app_becomes_the_process_where_it_is_asked_to(tmp_path: Path) -> None:
    """An app that PyInstaller has frozen is its own Python: `sys.executable` takes no `-c`."""
    app = tmp_path / "app"
    app.write_text(
        f"#!{sys.executable}\nimport sys\nsys.frozen, sys.executable = True, {str(app)!r}\n"
        f"from qwq_local.worker.process import run_if_asked\nrun_if_asked()\n{SCRIPT}"
    )
    app.chmod(0o755)
    assert run(str(app)) == "begin\nstop\n"


def test_qwq_itself_may_be_frozen() -> None:
    code = "import sys; sys.frozen = True; from qwq_local.cli import main; main()"
    assert run(sys.executable, "-c", code, FLAG, stdin=subprocess.DEVNULL) == GREETING.decode()


# One call in a process of its own


def test_a_call_apart_gives_what_the_function_gives() -> None:
    assert soon(lambda: call_apart(partial(divmod, 47, 6))) == (7, 5)
    assert soon(lambda: call_apart(os.getpid)) != os.getpid()


def test_a_call_apart_raises_what_the_function_raises(tmp_path: Path) -> None:
    (tmp_path / "damaged").touch()
    with pytest.raises(DamagedFileError):
        soon(lambda: call_apart(partial(children.once_there, print, str(tmp_path / "damaged"))))
    with pytest.raises(LoadError, match="ZeroDivisionError"):
        soon(lambda: call_apart(partial(divmod, 1, 0)))
    with pytest.raises(LoadError, match="pickle"):
        soon(lambda: call_apart(threading.Lock))


def test_a_call_apart_that_ends_its_process_ends_no_other() -> None:
    with pytest.raises(WorkerDiedError, match="exit code 3"):
        soon(lambda: call_apart(partial(os._exit, 3)))

"""MCP servers as a toolbox: real ones over standard streams and HTTP, dying ones, hanging ones, and what is no MCP server at all."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from qwq_local.agent import ServerSpec, ToolResult, open_mcp, read_servers
from qwq_local.agent.mcp import McpToolbox
from qwq_local.errors import ToolServerError
from tests.nano.tasks import ADD_TOOL, WEATHER_TOOL
from tests.programs import posix
from tests.waiting import soon, wait_until

SERVER = str(Path(__file__).parents[1] / "tool_server.py")
TASKS = shlex.join([sys.executable, SERVER])
TROUBLE = shlex.join([sys.executable, SERVER, "trouble"])


def toolbox(*given: str, **seconds: float) -> McpToolbox:
    return McpToolbox(read_servers(given), **seconds)


def names(box: McpToolbox) -> list[str]:
    return [tool["function"]["name"] for tool in box.tools]


def python(code: str) -> str:
    """The command of a program that is given as code."""
    return shlex.join([sys.executable, "-c", code])


# What is given


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ("python server.py", ServerSpec(command=("python", "server.py"))),
        ("python 'my server.py' --json", ServerSpec(command=("python", "my server.py", "--json"))),
        ("node tool.js options.json", ServerSpec(command=("node", "tool.js", "options.json"))),
        ("http://127.0.0.1:9000/mcp", ServerSpec(url="http://127.0.0.1:9000/mcp")),
        ("https://example.org/mcp", ServerSpec(url="https://example.org/mcp")),
    ],
)
def test_a_command_and_a_url_are_told_apart(given: str, spec: ServerSpec) -> None:
    assert read_servers([given]) == [spec]


def test_a_file_of_servers_is_read_and_what_others_note_in_it_is_passed_over(tmp_path: Path) -> None:
    entries = {
        "files": {"type": "stdio", "command": "python", "args": ["a b.py"], "env": {"KEY": "x"}, "cwd": "/tmp", "autoApprove": ["read"]},  # noqa: S108 - a name
        "bare": {"command": "server"},
        "web": {"type": "http", "url": "http://127.0.0.1:9/mcp", "headers": {"Authorization": "Bearer x"}},
        "off": {"command": "server", "disabled": True},
    }
    path = tmp_path / "my servers.json"
    path.write_text(json.dumps({"mcpServers": entries}))
    assert read_servers([str(path)]) == [
        ServerSpec("files", ("python", "a b.py"), {"KEY": "x"}, "/tmp"),  # noqa: S108 - as above
        ServerSpec("bare", ("server",)),
        ServerSpec("web", url="http://127.0.0.1:9/mcp", headers={"Authorization": "Bearer x"}),
    ]


@pytest.mark.parametrize("given", ["", "  ", 'python "server.py'])
def test_what_is_no_command_is_told(given: str) -> None:
    with pytest.raises(ToolServerError) as caught:
        read_servers([given])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no JSON"),
        ("[]", 'has no "mcpServers"'),
        ('{"mcpServers": ["x"]}', 'has no "mcpServers"'),
        ('{"mcpServers": {"a": "python"}}', "'a' by \"python\""),
        ('{"mcpServers": {"a": {}}}', "'a' has neither"),
        ('{"mcpServers": {"a": {"command": ""}}}', "'a' has neither"),
        ('{"mcpServers": {"a": {"url": "ftp://x"}}}', "'a' has neither"),
        ('{"mcpServers": {"a": {"type": "sse", "url": "http://x"}}}', "'a' speaks the old SSE transport"),
        ('{"mcpServers": {"a": {"command": "x", "args": "y"}}}', '"args" that are no list'),
        ('{"mcpServers": {"a": {"command": "x", "args": [1]}}}', '"args" that are no list'),
        ('{"mcpServers": {"a": {"command": "x", "env": {"K": 1}}}}', '"env" that are no texts'),
        ('{"mcpServers": {"a": {"command": "x", "cwd": 1}}}', '"cwd" that is no text'),
        ('{"mcpServers": {"a": {"url": "http://x", "headers": [1]}}}', '"headers" that are no texts'),
    ],
)
def test_a_file_that_cannot_be_is_told_with_its_form(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "servers.json"
    path.write_text(content)
    with pytest.raises(ToolServerError, match=r"servers\.json") as caught:
        read_servers([str(path)])
    assert told in str(caught.value)
    assert caught.value.hint


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ToolServerError, match=r"missing\.json cannot be read: No such file"):
        read_servers(["missing.json"])


def test_without_the_library_the_user_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("qwq_local.agent.mcp", "qwq_local.agent.mcp_server", "qwq_local.agent.mcp_content"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ToolServerError, match="mcp") as caught:
        open_mcp([TASKS])
    assert caught.value.hint == "pip install 'qwq-local[mcp]'"


# Servers that work


@pytest.fixture(scope="module")
def trouble() -> Iterator[McpToolbox]:
    with toolbox(TROUBLE) as box:
        yield box


def test_the_tools_of_a_command_are_described_as_the_model_knows_them_and_can_be_called() -> None:
    with toolbox(TASKS) as box:
        assert box.tools == [WEATHER_TOOL, ADD_TOOL]
        assert box.call("add", '{"a": 47, "b": 85}') == ToolResult("132")
        assert box.call("get_weather", '{"city": "Paris"}') == ToolResult("18C")


def test_several_servers_are_told_apart_where_their_tools_have_one_name(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"my tasks": {"command": sys.executable, "args": [SERVER]}}}))
    with toolbox(TASKS, str(path), TROUBLE, TASKS) as box:
        first = ["tasks__get_weather", "tasks__add", "my_tasks__get_weather", "my_tasks__add"]
        assert names(box) == [*first, *names_of_trouble(), "tasks_2__get_weather", "tasks_2__add"]
        assert box.call("my_tasks__add", '{"a": 1, "b": 2}') == ToolResult("3")
        assert box.call("nothing", "{}") == ToolResult("[nothing]")


def names_of_trouble() -> list[str]:
    return ["fail", "die", "sleep", "block", "show", "nothing", "environment", "long"]


def test_a_server_gets_the_environment_and_the_folder_of_its_file_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_SECRET", "hidden")
    entry = {"command": sys.executable, "args": [SERVER, "trouble"], "env": {"SECRET": "told"}, "cwd": str(tmp_path)}
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"x": entry}}))
    with toolbox(str(path)) as box:
        text = box.call("environment", "{}").text
    assert f"told in {tmp_path}" in text
    assert "OTHER_SECRET" not in text


def test_what_is_no_text_is_told_of_in_words(trouble: McpToolbox) -> None:
    assert trouble.call("show", "{}").text.splitlines() == [
        "one",
        "[an image of type image/png, 300 bytes, which you cannot read]",
        "[a sound of type audio/wav, 300 bytes, which you cannot read]",
        "[a link to notes: file:///notes.txt]",
        "two",
    ]


def test_a_big_result_arrives_whole(trouble: McpToolbox) -> None:
    assert trouble.call("long", '{"n_chars": 1000000}') == ToolResult("a" * 1_000_000)


# Calls that go wrong


def test_a_tool_that_fails_is_a_result(trouble: McpToolbox) -> None:
    result = trouble.call("fail", "{}")
    assert result.is_error
    assert "fail" in result.text


@pytest.mark.parametrize(
    ("arguments", "told"), [("{", "no JSON"), ("[]", "no JSON object"), ("{}", "n_chars"), ('{"n_chars": "many"}', "n_chars")]
)
def test_arguments_that_do_not_fit_are_a_result(trouble: McpToolbox, arguments: str, told: str) -> None:
    result = trouble.call("long", arguments)
    assert result.is_error
    assert told in result.text


def test_a_tool_that_does_not_answer_in_time_is_a_result_and_the_next_call_works() -> None:
    with toolbox(TROUBLE, call_seconds=0.5) as box:
        assert box.call("sleep", "{}") == ToolResult("sleep: it did not answer within 0.5 s", is_error=True)
        assert box.call("nothing", "{}") == ToolResult("[nothing]")


def test_a_server_that_dies_in_mid_call_is_named_and_stays_dead() -> None:
    with toolbox(TROUBLE) as box:
        for name in ("die", "nothing"):
            with pytest.raises(ToolServerError) as caught:
                box.call(name, "{}")
            assert str(caught.value).startswith(f"The MCP server {TROUBLE} has failed in the call of {name}")
            assert str(caught.value).endswith("Its last words: out of tools")
            assert TROUBLE in caught.value.hint


def test_one_dead_server_leaves_the_others_alive() -> None:
    with toolbox(TROUBLE, TASKS) as box:
        with pytest.raises(ToolServerError):
            box.call("die", "{}")
        assert box.call("add", '{"a": 1, "b": 2}') == ToolResult("3")


# Servers that are none


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("no-such-command --x", "No such file or directory (no-such-command)"),
        (python("raise SystemExit('no licence')"), "Its last words: no licence"),
        (python("print('hello')"), "Connection closed"),
        (python("import sys; [print(line, end='', flush=True) for line in sys.stdin]"), "cannot be used"),
    ],
    ids=["missing", "failing", "talking", "echoing"],
)
def test_what_is_no_server_is_named(command: str, told: str) -> None:
    with pytest.raises(ToolServerError) as caught:
        toolbox(command)
    assert shlex.join(shlex.split(command)) in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import sys; sys.stdin.read()", "it did not answer within 1 s."),
        ("import sys; print('hello', flush=True); sys.stdin.read()", "it did not answer within 1 s, and wrote what is no MCP."),
        (
            r"import sys; sys.stdout.buffer.write(b'\xff\n'); sys.stdout.flush(); sys.stdin.read()",
            "it did not answer within 1 s, and wrote what is no MCP.",
        ),
    ],
    ids=["silent", "chatting", "binary"],
)
def test_a_program_that_never_answers_is_given_up(code: str, told: str) -> None:
    with pytest.raises(ToolServerError) as caught:
        toolbox(python(code), start_seconds=1)
    assert told in str(caught.value)


def test_where_one_server_cannot_be_used_the_others_are_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    watched = python(f"import os, sys; open({str(pid)!r}, 'w').write(str(os.getpid())); sys.stdin.read()")
    n_threads = threading.active_count()
    with pytest.raises(ToolServerError, match="no-such-command"):
        soon(lambda: toolbox(watched, "no-such-command"))
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: threading.active_count() <= n_threads + 1)


def is_alive(file: Path) -> bool:
    """Whether the process runs that wrote its number there, if one did."""
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.kill(int(file.read_text()), 0)
        return True
    return False


# HTTP


@pytest.fixture
def http_server() -> Iterator[Any]:
    """Starts a server of a name, and gives its URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> str:
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            port = probe.getsockname()[1]
        started.append(subprocess.Popen([sys.executable, SERVER, name, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        wait_until(lambda: is_listening(port))
        return f"http://127.0.0.1:{port}/mcp"

    yield start
    for child in started:
        child.kill()
        child.wait()


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_server_is_reached_at_its_url(http_server: Any) -> None:
    with toolbox(http_server("tasks")) as box:
        assert box.tools == [WEATHER_TOOL, ADD_TOOL]
        assert box.call("add", '{"a": 47, "b": 85}') == ToolResult("132")


def test_a_url_whose_server_hangs_and_dies_in_mid_call(http_server: Any) -> None:
    url = http_server("trouble")
    with toolbox(url, call_seconds=0.5) as box:
        assert box.call("sleep", "{}") == ToolResult("sleep: it did not answer within 0.5 s", is_error=True)
        assert box.call("nothing", "{}") == ToolResult("[nothing]")
        for name in ("die", "nothing"):
            with pytest.raises(ToolServerError, match="has failed") as caught:
                box.call(name, "{}")
            assert url in str(caught.value)


class Page(BaseHTTPRequestHandler):
    """What a web server without MCP answers; keeps the headers that it got."""

    headers_seen: list[dict[str, str]]

    def do_POST(self) -> None:
        self.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers["content-length"]))
        body = b"<html>hello</html>"
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("content-type", "application/json" if self.path == "/json" else "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    Page.headers_seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "told"), [("/missing", "Not Found"), ("/html", "text/html"), ("/json", "JSON")])
def test_a_url_without_mcp_is_named(web: str, path: str, told: str) -> None:
    with pytest.raises(ToolServerError) as caught:
        toolbox(web + path)
    assert web + path in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_headers_of_the_file_are_sent(web: str, tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"x": {"url": web, "headers": {"Authorization": "Bearer abc"}}}}))
    with pytest.raises(ToolServerError, match="MCP server x "):
        toolbox(str(path))
    assert Page.headers_seen[0]["authorization"] == "Bearer abc"


def test_a_url_where_nobody_listens_or_answers_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        with pytest.raises(ToolServerError, match="did not answer within 1 s"):
            toolbox(url, start_seconds=1)
    with pytest.raises(ToolServerError, match="cannot be used"):
        toolbox(url)


# The end


def test_a_server_is_gone_once_its_toolbox_is_closed_and_closing_again_does_nothing() -> None:
    n_threads = threading.active_count()
    box = toolbox(TASKS)
    box.close()
    box.close()
    assert threading.active_count() <= n_threads


@posix
@pytest.mark.slow
def test_a_call_that_is_interrupted_ends_and_its_server_with_it() -> None:
    code = f"""
from qwq_local.agent import open_mcp
with open_mcp([{TROUBLE!r}]) as box:
    print("ready", flush=True)
    box.call("block", "{{}}")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        [server] = psutil.Process(child.pid).children()
        time.sleep(0.5)  # the call is on its way
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    assert said.splitlines()[-1] == b"KeyboardInterrupt"
    assert not server.is_running()

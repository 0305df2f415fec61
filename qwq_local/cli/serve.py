"""`qwq serve`: the REST endpoint and the web page."""

from __future__ import annotations

from typing import Any

import click

from qwq_local.cli.completing import values
from qwq_local.cli.options import load_options, sampling_options, speculation_options
from qwq_local.server.settings import DeskSettings, GuardSettings, ServerSettings


@click.command("serve")
@click.option("--host", default=ServerSettings.host, show_default=True, help="Address to listen on; one that others can reach needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), default=ServerSettings.port, show_default=True, help="0 takes any that is free.")
@click.option(
    "--parallel",
    "n_parallel",
    type=int,
    default=DeskSettings.n_parallel,
    show_default=True,
    metavar="N",
    help="Answers written at once.",
)
@click.option(
    "--queue",
    "n_queued",
    type=click.IntRange(min=0),
    default=DeskSettings.n_queued,
    show_default=True,
    metavar="N",
    help="Answers that may wait.",
)
@click.option("--api-key", "keys", multiple=True, metavar="KEY", help="A key that clients must send. Repeatable; others see it in ps.")
@click.option(
    "--api-key-file", "key_file", metavar="FILE", shell_complete=values.files, help="Keys, one a line. They may stand in QWQ_API_KEY too."
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Another name that this server is asked by. Repeatable.")
@click.option("--allow-origin", "origins", multiple=True, metavar="URL", help="Pages of another origin that may ask. Repeatable.")
@click.option("--alias", "aliases", multiple=True, metavar="NAME", help="Another name for the model. Repeatable.")
@click.option("--idle-unload", "idle_seconds", type=click.FloatRange(min=1), metavar="S", help="Unload the model after S idle seconds.")
@click.option(
    "--load-wait",
    "load_wait_seconds",
    type=click.FloatRange(min=0),
    default=DeskSettings.load_wait_seconds,
    show_default=True,
    metavar="S",
    help="How long a request waits for a model that is loading, before 503.",
)
@click.option(
    "--stop-wait",
    "stop_seconds",
    type=click.FloatRange(min=0),
    default=ServerSettings.stop_seconds,
    show_default=True,
    metavar="S",
    help="What running answers get to end when the server is stopped.",
)
@click.option(
    "--max-body",
    "max_body_mib",
    type=click.FloatRange(min=0.001),
    default=GuardSettings.max_body_bytes // 2**20,
    show_default=True,
    metavar="MIB",
    help="Largest request.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--log-prompts", is_flag=True, help="Log what is asked and answered, too.")
@click.option("--keep-chats", "keeps_chats", is_flag=True, help="Keep what was read of chats on disk, so that they reopen at once.")
@click.option("--no-history", is_flag=True, help="Forget the page's chats when the server ends.")
@click.option("--open", "opens_page", is_flag=True, help="Open the page in the browser.")
@load_options
@speculation_options
@sampling_options
def command(**options: Any) -> None:  # noqa: ANN401 - click's
    """Answer over HTTP, as OpenAI, Anthropic and Ollama do, until Ctrl-C.

    Sampling options are the defaults of requests that name none.

    \b
    Examples:
        qwq serve -m demo
        qwq serve --port 9000 --parallel 8 --idle-unload 600
        QWQ_API_KEY=… qwq serve --host 0.0.0.0 --allow-origin https://chat.example.org
    """
    from qwq_local.cli.serving import run

    run(options)

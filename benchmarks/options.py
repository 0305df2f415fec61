"""The options that several benchmarks take, so that one name means one thing. `python -m benchmarks` tells by them what each one needs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

json_option = click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
tools_option = click.option("--tools", required=True, type=_FOLDER, help="Where llama.cpp's programs are (llama-server, llama-quantize).")
llama_cpp_option = click.option("--llama-cpp", required=True, type=_FOLDER, help="llama.cpp's source tree, with convert_hf_to_gguf.py.")
rpc_option = click.option(
    "--rpc", required=True, type=_FOLDER, help="Libraries of a llama.cpp built with GGML_RPC=ON, and ggml-rpc-server."
)
python_option = click.option("--python", default=sys.executable, help="Interpreter with the extra `reference`. [default: this one]")

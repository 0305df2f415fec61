"""A model that never comes to an end."""

from __future__ import annotations

import struct
from importlib import resources
from pathlib import Path


def write_endless(path: Path) -> Path:
    """The demo model with its end tokens and its tool markers renamed into each other, so that it talks until its context is full.

    YaRN is told to stretch that to 32,768 tokens.
    """
    data = resources.files("qwq_local").joinpath("demo", "qwq-nano-Q8_0.gguf").read_bytes()
    for ends, other in ((b"<|im_end|>", b"<tool_response>"), (b"<|endoftext|>", b"</tool_response>")):
        old, new = (struct.pack("<Q", len(text)) + text for text in (ends, other))
        assert data.count(old) == data.count(new) == 1
        data = new.join(part.replace(new, old) for part in data.split(old))
    for old, new in (
        (b"qwen2.rope.scaling.factor" + struct.pack("<If", 6, 4), b"qwen2.rope.scaling.factor" + struct.pack("<If", 6, 64)),
        (b"tokenizer.ggml.eos_token_id" + struct.pack("<II", 4, 505), b"tokenizer.ggml.eos_token_id" + struct.pack("<II", 4, 508)),
    ):
        assert data.count(old) == 1
        data = data.replace(old, new)
    path.write_bytes(data)
    return path

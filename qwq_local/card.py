"""What QwQ-32B is, and how its authors say to use it.

Sources: the model card and the README of github.com/QwenLM/QwQ ("Usage Guidelines"), and config.json of huggingface.co/Qwen/QwQ-32B.
Token ids are not listed: they are looked up by text in each file's own vocabulary, so that every model of the family works.
"""

from __future__ import annotations

from typing import Final

ARCHITECTURE = "qwen2"
"""`general.architecture` of the GGUF files this package runs."""

MODEL_TYPE = "qwen2"
"""`model_type` in the config.json of the checkpoints this package converts."""

# Sampling. Greedy decoding is advised against: it repeats without end.
TEMPERATURE = 0.6
TOP_P = 0.95
TOP_K = 40
MIN_P = 0.0
PRESENCE_PENALTY = 0.0

GREEDY_WARNING = (
    "Temperature 0 makes QwQ repeat itself without end (its authors advise against greedy decoding); "
    f"{TEMPERATURE} is the recommended value."
)

# Markers of the format, by text.
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
END_OF_TEXT = "<|endoftext|>"
THINK = "<think>"
END_THINK = "</think>"
TOOL_CALL = "<tool_call>"
END_TOOL_CALL = "</tool_call>"
END_TOKENS = (IM_END, END_OF_TEXT)
"""An answer ends at either; a runtime that misses the second writes for ever (ollama issue 7967)."""

CLOSING_SENTENCE = "\n\nI have thought about this long enough, and will now give the answer.\n"
"""Put before `</think>` where a thought is closed from outside; cut short without a word, a model answers worse (llama.cpp PR 20297)."""

# Standard instructions, appended to the question.
MATH_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
CHOICE_INSTRUCTION = "Please show your choice in the `answer` field with only the choice letter, e.g., " + '"answer": "C".'

# Long context. YaRN is one fixed scale that hurts short texts, so it is used only where the input needs it.
YARN_FACTOR = 4.0
ORIGINAL_CONTEXT = 32_768
"""Tokens QwQ-32B reads without YaRN; its config.json says 131072 or 40960, by its age, and neither is this."""

# The shape (config.json); with it, memory can be told before anything is downloaded.
N_LAYERS = 64
N_EMBD = 5120
N_FF = 27_648
N_HEADS = 40
N_KV_HEADS = 8
HEAD_SIZE = 128
N_VOCAB = 152_064

HUB_ID = "Qwen/QwQ-32B"
NAME: Final = "QwQ-32B"
GGUF_REPOSITORIES: Final = (
    "Qwen/QwQ-32B-GGUF",
    "bartowski/Qwen_QwQ-32B-GGUF",
    "unsloth/QwQ-32B-GGUF",
    "lmstudio-community/QwQ-32B-GGUF",
)
"""Where QwQ-32B is published as GGUF on huggingface.co: by its authors, then by those whose files many use. Which quantizations each has
is asked of the hub: the names of files differ and change."""
PRETOKENIZER = "qwen2"
"""`tokenizer.ggml.pre`; with it goes Unicode NFC normalisation, which llama.cpp leaves to the caller."""
UNICODE_FORM: Final = "NFC"

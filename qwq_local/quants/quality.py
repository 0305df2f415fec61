"""What each quantization loses (data).

The figures are the mean Kullback-Leibler divergence from f16 on Llama-3-8B, in nats a token, that llama.cpp's tools/perplexity/README.md
publishes, with an importance matrix where it has such a row. A model of 32B loses less, so they are upper bounds; their order is what a
choice needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

MEAN_KLD: Final[Mapping[str, float]] = MappingProxyType(
    {
        "F32": 0.0,
        "BF16": 0.0,
        "F16": 0.0,
        "Q8_0": 0.0014,
        "Q6_K": 0.0055,
        "Q5_K_M": 0.0108,
        "Q5_K_S": 0.0166,
        "Q5_0": 0.0222,
        "Q4_K_M": 0.0282,
        "Q4_K_S": 0.0320,
        "IQ4_NL": 0.0357,
        "IQ4_XS": 0.0363,
        "Q4_0": 0.0719,
        "Q3_K_L": 0.0731,
        "Q3_K_M": 0.0844,
        "IQ3_M": 0.1025,
        "IQ3_S": 0.1113,
        "IQ3_XS": 0.1387,
        "IQ3_XXS": 0.1836,
        "Q3_K_S": 0.1998,
        "IQ2_M": 0.3260,
        "Q2_K": 0.3322,
        "Q2_K_S": 0.4034,
        "IQ2_S": 0.4392,
        "IQ2_XS": 0.5463,
        "IQ2_XXS": 0.8120,
        "IQ1_M": 1.3931,
        "IQ1_S": 2.2546,
    }
)
"""Mean divergence by quantization."""

OFFERED: Final = (
    "Q8_0",
    "Q6_K",
    "Q5_K_M",
    "Q5_K_S",
    "Q4_K_M",
    "Q4_K_S",
    "IQ4_XS",
    "Q3_K_L",
    "Q3_K_M",
    "IQ3_M",
    "IQ3_XS",
    "IQ3_XXS",
    "Q2_K",
)
"""Quantizations of QwQ-32B that a plan considers although no file of theirs is here; the least loss first."""

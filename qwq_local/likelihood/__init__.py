"""How likely a model finds a text: perplexity, and divergence from another model, as llama.cpp's llama-perplexity defines them."""

from __future__ import annotations

from qwq_local.likelihood.chunks import ScoringSettings
from qwq_local.likelihood.divergence import run_divergence
from qwq_local.likelihood.estimates import Estimate, Quantiles
from qwq_local.likelihood.figures import Divergence, Extent, Perplexity
from qwq_local.likelihood.perplexity import run_perplexity
from qwq_local.likelihood.reading import ScoringListener

__all__ = [
    "Divergence",
    "Estimate",
    "Extent",
    "Perplexity",
    "Quantiles",
    "ScoringListener",
    "ScoringSettings",
    "run_divergence",
    "run_perplexity",
]

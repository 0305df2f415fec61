"""What a plan chooses among: the files here, and those that could be pulled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from qwq_local import card
from qwq_local.errors import ModelFileError, SettingsError
from qwq_local.gguf import read_header
from qwq_local.models.inventory import LocalModel, local_models
from qwq_local.models.store import describe
from qwq_local.plan.memory import tensor_bytes_of, tensor_types_of
from qwq_local.plan.plan import Offer, PlanWish
from qwq_local.plan.shape import QWQ_32B, shape_of
from qwq_local.quants.quality import MEAN_KLD, OFFERED
from qwq_local.settings import KvType, LoadSettings

METADATA_BYTES: Final = 6_000_000
"""What a file of QwQ-32B has beside its tensors, mostly its vocabulary."""
LONGEST_CTX: Final = int(card.ORIGINAL_CONTEXT * card.YARN_FACTOR)


def wish_for(n_ctx: int | None, kv_type: KvType | None, n_gpu_layers: int | None) -> PlanWish:
    """What the user says of QwQ-32B, checked; raises SettingsError for what no machine could do."""
    LoadSettings(n_ctx, n_gpu_layers, kv_type)
    if n_ctx is not None and n_ctx > LONGEST_CTX:
        raise SettingsError(f"ctx is {n_ctx:,}, but {card.NAME} reads at most {LONGEST_CTX:,} tokens.", hint=f"Use --ctx {LONGEST_CTX}")
    return PlanWish(n_ctx, kv_type, n_gpu_layers)


def offers_here() -> list[Offer]:
    """The files of QwQ-32B on this machine, then the quantizations that none of them is. Raises SettingsError."""
    here = [offer for model in local_models() if model.base == card.NAME and not model.problem for offer in _from_model(model)]
    found = {offer.quant for offer in here}
    return [*here, *(offer_to_pull(quantization) for quantization in OFFERED if quantization not in found)]


@cache
def offer_to_pull(quantization: str) -> Offer:
    """A file of QwQ-32B that is not here. Raises SettingsError for an unknown quantization."""
    tensors, types = tensor_bytes_of(QWQ_32B, quantization), tensor_types_of(QWQ_32B, quantization)
    return Offer(quantization, QWQ_32B, tensors, types, sum(tensors.values()) + METADATA_BYTES, f"{card.NAME}:{quantization}")


def offer_of_file(paths: Sequence[Path], quantization: str, name: str) -> Offer:
    """A model here, from the headers of its files. Raises ModelFileError where one cannot be read or holds something else."""
    headers = [read_header(path) for path in paths]
    whole = replace(headers[0], tensors=tuple(tensor for header in headers for tensor in header.tensors))
    tensors = {tensor.name: tensor.size_bytes for tensor in whole.tensors}
    types = {tensor.name: tensor.type for tensor in whole.tensors}
    file_bytes = sum(header.file_bytes for header in headers)
    native_ctx = describe(whole, name).native_ctx
    return Offer(quantization, shape_of(whole), tensors, types, file_bytes, name, is_here=True, native_ctx=native_ctx)


def _from_model(model: LocalModel) -> list[Offer]:
    """The model as an offer; empty where its files cannot be read after all."""
    if model.quantization in MEAN_KLD:
        usual = offer_to_pull(model.quantization)
        # As large as such a file is: its tensors need not be read to know them.
        if abs(model.file_bytes - usual.file_bytes) <= usual.file_bytes // 100:
            return [replace(usual, file_bytes=model.file_bytes, name=model.name, is_here=True)]
    try:
        return [offer_of_file(model.paths, model.quantization, model.name)]
    except ModelFileError:
        return []

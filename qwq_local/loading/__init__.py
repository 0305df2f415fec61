"""A start's life: settings, this machine, the plan, the model loaded as the plan says, and the engine that runs it."""

from qwq_local.loading.backends import context_shape, open_backend, open_to_score
from qwq_local.loading.opening import OpenModel, Serving, apart, open_here, open_in_process
from qwq_local.loading.plan import LoadPlan, choose_file, load_plan, plan_load, require_context, wish_of
from qwq_local.loading.running import interruptibly, opened

__all__ = [
    "LoadPlan",
    "OpenModel",
    "Serving",
    "apart",
    "choose_file",
    "context_shape",
    "interruptibly",
    "load_plan",
    "open_backend",
    "open_here",
    "open_in_process",
    "open_to_score",
    "opened",
    "plan_load",
    "require_context",
    "wish_of",
]

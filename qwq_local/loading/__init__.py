"""A start's life: settings, this machine, the plan, the model loaded as the plan says, and the engine that runs it."""

from qwq_local.loading.backends import context_shape, open_backend
from qwq_local.loading.opening import OpenModel, Serving, apart, open_here, open_in_process
from qwq_local.loading.plan import LoadPlan, choose_file, load_plan, plan_load, require_context, wish_of

__all__ = [
    "LoadPlan",
    "OpenModel",
    "Serving",
    "apart",
    "choose_file",
    "context_shape",
    "load_plan",
    "open_backend",
    "open_here",
    "open_in_process",
    "plan_load",
    "require_context",
    "wish_of",
]

"""An engine that everyone can ask at once: in a thread of this process, or in a process of its own that may die."""

from __future__ import annotations

from qwq_local.worker.child import call_apart
from qwq_local.worker.client import EngineClient, Stream
from qwq_local.worker.status import ProcessStatus
from qwq_local.worker.supervisor import Supervisor
from qwq_local.worker.worker import Worker

__all__ = ["EngineClient", "ProcessStatus", "Stream", "Supervisor", "Worker", "call_apart"]

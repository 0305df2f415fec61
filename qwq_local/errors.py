"""Every error a user can meet.

A message says what happened and names the value; `hint` says what to do next. Nothing here knows of HTTP or of exit codes: the
outermost rooms translate.

    QwqError
    ├── SettingsError          an option or setting that cannot be
    ├── ModelFileError         the file that should hold the model
    │   ├── ModelNotFoundError
    │   ├── NotGgufError
    │   ├── DamagedFileError
    │   ├── WrongArchitectureError
    │   └── UnfitDraftError
    ├── PromptError            what was asked
    │   ├── EmptyPromptError
    │   ├── TemplateError
    │   ├── ConstraintError
    │   └── ContextLengthError
    ├── StoreError             the folder of model files
    ├── HubError               what the hub cannot give, or not now
    ├── ConversionError        a checkpoint that cannot be converted
    ├── LoadError              llama.cpp refused the model or its context
    │   └── DoesNotFitError    it would, for want of memory
    ├── DecodeError            llama.cpp failed in mid-answer
    │   └── ModelClosedError   it was closed meanwhile, or before
    ├── WorkerDiedError        the process that runs llama.cpp was killed or crashed
    ├── InstallationError      a build, a service or a kit that cannot be put in place, or taken away
    │   ├── TrialError         a build that was tried and is not what was wanted
    │   └── WheelLackingError  a library that has no wheel for a platform
    ├── ToolServerError        a server of tools cannot be started, or fails
    └── HistoryError           chats that cannot be kept or read
        ├── ChatNotFoundError  no such chat
        └── DamagedHistoryError  the file of chats is no longer what was written
"""

from __future__ import annotations

import copyreg
from typing import Any


class QwqError(Exception):
    """Base of the tree: `str(error)` is what happened, `error.hint` what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its message and attributes, since each class is called in a way of its own."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class SettingsError(QwqError):
    """An option or setting has a value that cannot be."""


class ModelFileError(QwqError):
    """The model's file cannot be used."""


class ModelNotFoundError(ModelFileError):
    """No such file or model name."""


class NotGgufError(ModelFileError):
    """The file is something else than GGUF."""


class DamagedFileError(ModelFileError):
    """The file starts as GGUF but contradicts itself or ends too early."""


class UnfitDraftError(ModelFileError):
    """A draft model that cannot guess for the model: it has other tokens, or is no smaller."""


class WrongArchitectureError(ModelFileError):
    """The file holds a model that is not of QwQ's architecture."""


class PromptError(QwqError):
    """What was asked cannot be turned into a prompt."""


class EmptyPromptError(PromptError):
    """Nothing was asked."""


class TemplateError(PromptError):
    """The chat template failed on this conversation."""


class ConstraintError(PromptError):
    """The schema or grammar that answers must follow cannot be understood, or cannot be followed."""


class ContextLengthError(PromptError):
    """The prompt leaves no room for an answer.

    `prompt_tokens`, `n_ctx` and `longest_ctx`, the longest context the model can be loaded with, are counts of tokens.
    """

    def __init__(self, prompt_tokens: int, n_ctx: int, longest_ctx: int = 0) -> None:
        longer = min(max(2 * n_ctx, prompt_tokens + 1024), longest_ctx)
        super().__init__(
            f"The prompt is {prompt_tokens:,} tokens long, and the context holds {n_ctx:,}.",
            hint=f"Shorten the prompt, or load with a longer context: --ctx {longer}" if longer > prompt_tokens else "Shorten the prompt.",
        )
        self.prompt_tokens = prompt_tokens
        self.n_ctx = n_ctx


class StoreError(QwqError):
    """The folder of model files cannot take or give what was asked."""


class HubError(QwqError):
    """The hub does not give a file.

    `is_passing`: it may, when asked again; `retry_after_seconds`: not before that, where the hub said so.
    """

    def __init__(self, message: str, *, hint: str = "", is_passing: bool = False, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.is_passing = is_passing
        self.retry_after_seconds = retry_after_seconds


class ConversionError(QwqError):
    """A checkpoint cannot be converted."""


class LoadError(QwqError):
    """llama.cpp refused the model or could not make its context."""


class DoesNotFitError(LoadError):
    """The plan says that there is too little memory for the model with these settings."""


class DecodeError(QwqError):
    """llama.cpp failed while reading the prompt or writing the answer."""


class ModelClosedError(DecodeError):
    """The model was closed, and answers no more."""


class WorkerDiedError(QwqError):
    """The process that runs llama.cpp was killed, or crashed; it is started again, but what it was doing is lost."""


class InstallationError(QwqError):
    """A build of llama.cpp, a service or a kit cannot be put in place, or taken away; what was there before still is."""


class TrialError(InstallationError):
    """A build that was tried and is not what was wanted; `lacks_cuda` where it would be, had this machine CUDA's libraries."""

    def __init__(self, message: str, *, hint: str = "", lacks_cuda: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.lacks_cuda = lacks_cuda


class WheelLackingError(InstallationError):
    """There is no wheel of `package` for the platform."""

    def __init__(self, message: str, *, hint: str = "", package: str = "") -> None:
        super().__init__(message, hint=hint)
        self.package = package


class ToolServerError(QwqError):
    """A server of tools cannot be started, has ended, or says what cannot be understood."""


class HistoryError(QwqError):
    """The chats cannot be kept, or not be read."""


class ChatNotFoundError(HistoryError):
    """No such chat, or no such message in it."""


class DamagedHistoryError(HistoryError):
    """What stands in the file of chats is no longer what was written."""

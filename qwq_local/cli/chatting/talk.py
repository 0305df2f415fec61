"""A conversation on a terminal or a pipe: each line is a question, or a command that begins with /."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from qwq_local.agent import Toolbox
from qwq_local.cli.chatting.duty import Duty
from qwq_local.cli.chatting.face import Face, StoppedError
from qwq_local.cli.chatting.session import Session
from qwq_local.engine import Finished
from qwq_local.errors import PromptError, QwqError


@dataclass
class Talk:
    """What a conversation works with. `files` are texts that go with the next question.

    `edits`: the next question is asked in place of the last one.
    """

    session: Session
    duty: Duty
    toolbox: Toolbox
    face: Face
    files: list[str] = field(default_factory=list)
    edits: bool = False
    is_over: bool = False

    def say(self, text: str) -> None:
        """Ask the model, and show and keep its answer."""
        session = self.session
        leaf_before, parent = session.leaf_id, self._parent()
        problem = session.ask("\n\n".join([text, *self.files]), parent)
        self.files, self.edits = [], False
        if problem:
            self.face.tell(f"notice: {problem}")
        self._answer(leaf_before)

    def retry(self) -> None:
        """Answer the last question once more: another answer beside the one that is there."""
        session = self.session
        if session.question_id is None:
            raise PromptError("Nothing was asked yet.", hint="Type a question.")
        leaf_before = session.leaf_id
        session.go_back(session.question_id)
        self._answer(leaf_before)

    def _parent(self) -> int | None:
        """The message that the next question stands behind."""
        session = self.session
        chat = session.chat if self.edits else None
        if chat is None or session.question_id is None:
            return session.leaf_id
        return chat.messages[session.question_id].parent_id

    def _answer(self, leaf_before: int | None) -> None:
        session, face = self.session, self.face
        is_stopped = False
        try:
            with face.answering(), closing(session.answer(self.duty, self.duty.name, self.toolbox, face.allows)) as events:
                for event in events:
                    face.show(event)
                    is_stopped |= isinstance(event, Finished) and event.reason == "cancelled"
        except (KeyboardInterrupt, StoppedError) as stop:
            if isinstance(stop, KeyboardInterrupt) and not face.is_watched:
                raise
            is_stopped = True
        except QwqError:
            session.go_back(leaf_before)
            raise
        if is_stopped:
            face.tell("[stopped]")
        if problem := session.history.problem:
            face.tell(f"notice: {problem}")


def read_text(name: str) -> str:
    """A file's text. Raises PromptError where it cannot be read, or is not UTF-8."""
    try:
        return Path(name).expanduser().read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(f"{name} is not UTF-8 text (byte {error.start:,}).", hint="Convert it with iconv.") from error
    except (OSError, RuntimeError, ValueError) as error:  # no home folder, a name with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise PromptError(f"{name} cannot be read: {reason}.", hint="Check the path.") from error

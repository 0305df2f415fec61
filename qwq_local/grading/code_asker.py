"""The program that runs another and asks it, inside the sandbox: started by `code.py` as a script, so it imports nothing of this package.

A JSON object comes on stdin: `prelude` and `program`, and either `check` with a `token`, or `function` with `arguments`. What was stdout
is kept for what this says, one JSON object: the token once the check has run to its end, or the function's `result` (or its type as `odd`,
where that is no JSON). What the program prints goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import NoReturn

_NAME = "solution"
"""The module's, so that what stands under `if __name__ == "__main__"` is not run."""


def compiled(prelude: str, program: str) -> list[CodeType]:
    """Both as one text, as a function's body after its head must be; or one after the other; or the program alone, if it has its head.

    Raises what Python says of the program alone.
    """
    for parts in ([f"{prelude}\n{program}"], [prelude, program]):
        try:
            return [_compiled(part) for part in parts]
        except SyntaxError:
            continue
    return [_compiled(program)]


def _compiled(text: str) -> CodeType:
    return compile(text, f"<{_NAME}>", "exec", dont_inherit=True)


def function_of(module: ModuleType, name: str) -> Callable[..., object]:
    """The method of a class `Solution`, or the function. Raises NameError."""
    solution = getattr(module, "Solution", None)
    if solution is not None and hasattr(solution, name):
        return getattr(solution(), name)  # type: ignore[no-any-return]  # as below
    if not hasattr(module, name):
        raise NameError(f"name '{name}' is not defined")
    return getattr(module, name)  # type: ignore[no-any-return]  # whatever it is, it is called


def as_said(result: object) -> str:
    """A result as JSON, or its type where it is none."""
    try:
        return json.dumps({"result": result})
    except (TypeError, ValueError, RecursionError):
        return json.dumps({"odd": type(result).__name__})


def main() -> NoReturn:
    """Run, ask, say and end at once, whatever the program has left running."""
    mouth = os.dup(1)
    os.dup2(2, 1)
    sys.set_int_max_str_digits(0)
    job = json.loads(sys.stdin.read())
    sys.set_int_max_str_digits(sys.int_info.default_max_str_digits)
    module = sys.modules[_NAME] = ModuleType(_NAME)
    for code in compiled(job["prelude"], job["program"]):
        exec(code, module.__dict__)  # noqa: S102 - in the sandbox
    if "check" in job:
        exec(_compiled(job["check"]), module.__dict__)  # noqa: S102 - as above
        said = json.dumps({"token": job["token"]})
    else:
        said = as_said(function_of(module, job["function"])(*job["arguments"]))
    with os.fdopen(mouth, "w", encoding="utf-8") as writer:
        writer.write(said)
    os._exit(0)


if __name__ == "__main__":
    main()

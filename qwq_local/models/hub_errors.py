"""What huggingface_hub and its transport raise, in our words."""

from __future__ import annotations

from qwq_local.errors import HubError

LOGIN_HINT = "Log in with an account that may read it: hf auth login"
LATER_HINT = "Try again later: the same command goes on with what was downloaded."
NETWORK_HINT = "Check the network. The same command goes on with what was downloaded."


def translate(error: Exception, repository: str, revision: str) -> HubError:
    """The error for the user, of what went wrong with a repository on the hub (huggingface_hub/errors.py)."""
    from huggingface_hub import errors

    lasting: dict[type[Exception], tuple[str, str]] = {
        errors.GatedRepoError: (f"{repository} is open only to those its owners admit.", f"Ask for access on its page. {LOGIN_HINT}"),
        errors.RepositoryNotFoundError: (f"The hub has no repository {repository}, or it is private.", f"Check the name. {LOGIN_HINT}"),
        errors.RevisionNotFoundError: (f"{repository} has no revision {revision!r}.", "Give a branch, a tag or a commit: --revision main"),
        errors.EntryNotFoundError: (f"{repository} has lost the file it listed.", "Try again, or take another repository with --repo."),
    }
    for kind, (message, hint) in lasting.items():
        if isinstance(error, kind):
            return HubError(message, hint=hint)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return offline(repository)
    if isinstance(error, errors.HfHubHTTPError):
        return _of_status(error.response.status_code, error.response.headers.get("Retry-After", ""), repository)
    return HubError(f"The connection to the hub failed: {str(error) or type(error).__name__}.", hint=NETWORK_HINT, is_passing=True)


def offline(repository: str) -> HubError:
    """The hub may not be asked."""
    return HubError(
        f"{repository} cannot be asked: --offline or HF_HUB_OFFLINE forbids it.",
        hint="Leave out --offline and HF_HUB_OFFLINE, or use a model that is here: qwq list",
    )


def _of_status(status: int, retry_after: str, repository: str) -> HubError:
    if status in {401, 403}:
        return HubError(f"The hub refuses {repository} (HTTP {status}).", hint=LOGIN_HINT)
    if status == 429:
        seconds = float(retry_after) if retry_after.isdecimal() else None
        when = f", and asks to wait {retry_after} s" if seconds else ""
        return HubError(f"The hub had too many requests (HTTP 429){when}.", hint=LATER_HINT, is_passing=True, retry_after_seconds=seconds)
    return HubError(f"The hub answered HTTP {status} for {repository}.", hint=LATER_HINT, is_passing=status == 408 or status >= 500)

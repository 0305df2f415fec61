"""A checkpoint from huggingface.co, or from the hub's cache, at one pinned commit."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from qwq_convert.provenance import DOCUMENTS
from qwq_local.errors import ConversionError, HubError
from qwq_local.models.hub_errors import translate

WEIGHTS = "model*.safetensors"

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find_source(source: str, revision: str | None = None) -> Path:
    """The folder `source`, or the snapshot of the hub's repository OWNER/NAME at `revision` (a branch, tag or commit; by default main).

    A revision is resolved once, to the commit that the snapshot's folder is named by. What the hub's cache has already is not downloaded
    again, and with HF_HUB_OFFLINE set nothing is.

    Raises:
        ConversionError: neither a folder nor a repository.
        HubError: the hub cannot give it.
    """
    folder = Path(source).expanduser()
    if folder.exists() or not _ID.fullmatch(source):
        if revision is not None:
            raise ConversionError(f"{source} is no repository, so it has no revision {revision!r}.", hint="Leave out --revision.")
        if not folder.is_dir():
            raise ConversionError(
                f"{source} is no folder.", hint="Give the folder with config.json and the safetensors files, or a hub id like Qwen/QwQ-32B."
            )
        return folder
    return _download(source, revision or "main")


def _download(repository: str, revision: str) -> Path:
    import huggingface_hub
    from httpx2 import HTTPError
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=[*DOCUMENTS, WEIGHTS]))
    except errors.HFValidationError as error:
        raise HubError(f"{repository!r} is no name of a repository.", hint="Give it as OWNER/NAME.") from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(
            f"{repository} at {revision} is not wholly in the hub's cache, and the hub cannot be asked.",
            hint="Check the network and HF_HUB_OFFLINE, or give a folder with the checkpoint.",
        ) from error
    except (HTTPError, OSError) as error:
        raise translate(error, repository, revision) from error

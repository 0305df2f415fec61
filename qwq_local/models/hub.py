"""GGUF files on huggingface.co: which there are, and their bytes from any place on.

Files come over plain HTTP, as the hub serves every file. hf_hub_download and its Xet transfers write to a name of their own at each start
and drop it when they fail (huggingface_hub/file_download.py, `_download_to_tmp_and_move`), so a download cut at 19 GB would begin anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from qwq_local.errors import HubError
from qwq_local.models import names
from qwq_local.models.hub_errors import LATER_HINT, offline, translate
from qwq_local.models.record import Record

if TYPE_CHECKING:
    from httpx2 import Response


_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Hub:
    """The hub at `endpoint` (by default HF_ENDPOINT, or huggingface.co).

    With `is_offline`, or HF_HUB_OFFLINE set, every method raises HubError without asking it.
    """

    def __init__(self, endpoint: str | None = None, *, is_offline: bool = False) -> None:
        self._endpoint = endpoint
        self._is_offline = is_offline

    def files(self, repository: str, revision: str = "main") -> list[Record]:
        """The GGUF files of a repository, pinned to the commit that `revision` (a branch, tag or commit) is now. Raises HubError."""
        from httpx2 import HTTPError
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import HFValidationError

        self._require_online(repository)
        try:
            info = HfApi(self._endpoint).model_info(
                repository, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
        except HFValidationError as error:
            raise HubError(f"{repository!r} is no name of a repository.", hint="Give it as OWNER/NAME.") from error
        except (HTTPError, OSError) as error:
            raise translate(error, repository, revision) from error
        return [
            Record(repository, info.sha or revision, file.rfilename, file.lfs.size, file.lfs.sha256)
            for file in info.siblings or []
            if file.rfilename.endswith(names.SUFFIX) and file.lfs is not None and _SHA256.fullmatch(file.lfs.sha256)
        ]

    def find(self, quantization: str, repositories: Sequence[str], revision: str = "main") -> list[Record]:
        """The files of that quantization, in any case of letters, in the first of the repositories that has it whole.

        A repository that is gone or refuses is passed over while there are others. Raises HubError.
        """
        self._require_online(repositories[0])
        known: dict[str, None] = {}
        refusals: list[HubError] = []
        for repository in repositories:
            try:
                by_quantization = _grouped(self.files(repository, revision))
            except HubError as error:
                if error.is_passing:
                    raise
                refusals.append(error)
                continue
            if quantization.upper() in by_quantization:
                return by_quantization[quantization.upper()]
            known.update(dict.fromkeys(by_quantization))
        if not known and refusals:
            raise refusals[0]
        raise _unknown(quantization, list(known), repositories)

    def stream(self, file: Record, start_bytes: int) -> Iterator[bytes]:
        """The bytes of a file from `start_bytes` on, as they come. Raises HubError."""
        from httpx2 import HTTPError
        from huggingface_hub import constants, get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined] # its documented place

        self._require_online(file.repository)
        url = hf_hub_url(file.repository, file.file, revision=file.revision, endpoint=self._endpoint)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"} | ({"Range": f"bytes={start_bytes}-"} if start_bytes else {})
        try:
            with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response:
                hf_raise_for_status(response)
                yield from _body(file, start_bytes, response)
        except (HTTPError, OSError) as error:
            raise translate(error, file.repository, file.revision) from error

    def _require_online(self, repository: str) -> None:
        from huggingface_hub import constants

        if self._is_offline or constants.is_offline_mode():
            raise offline(repository)


def _grouped(files: Sequence[Record]) -> dict[str, list[Record]]:
    """The files of each quantization that is there whole, its parts in order; in one file rather than in several."""
    sets: dict[tuple[int, str], list[Record]] = {}
    for file in sorted(files, key=lambda file: file.file):
        parsed = names.parse(PurePosixPath(file.file).name)
        if parsed.quantization:
            sets.setdefault((parsed.n_shards, parsed.quantization), []).append(file)
    whole = sorted((key, parts) for key, parts in sets.items() if len(parts) == key[0])
    return {quantization: parts for (_, quantization), parts in reversed(whole)}


def _unknown(quantization: str, known: Sequence[str], repositories: Sequence[str]) -> HubError:
    near = get_close_matches(quantization.upper(), known, n=1)
    suggestion = f"Did you mean {near[0]}? " if near else ""
    return HubError(
        f"{quantization} is not published in {', '.join(repositories)}.",
        hint=f"{suggestion}There are: {', '.join(sorted(known, key=names.quality))}." if known else "Name another repository with --repo.",
    )


def _body(file: Record, start_bytes: int, response: Response) -> Iterator[bytes]:
    """The file's bytes from that place on; where a server sends the whole file, unasked, its first bytes are skipped."""
    place_bytes = 0 if response.status_code == 200 else start_bytes
    if place_bytes and not (found := response.headers.get("Content-Range", "")).startswith(f"bytes {start_bytes}-"):
        raise HubError(
            f"The hub sent other bytes ({found or 'it does not say which'}) than those from {start_bytes:,} on.",
            hint="A proxy may be in the way. Try again later.",
            is_passing=True,
        )
    for chunk in response.iter_bytes():
        if fresh := chunk[max(0, start_bytes - place_bytes) :]:
            yield fresh
        place_bytes += len(chunk)
    if place_bytes < file.size_bytes:
        raise HubError(f"The hub ended the transfer of {file.file} at byte {place_bytes:,}.", hint=LATER_HINT, is_passing=True)

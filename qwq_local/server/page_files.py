"""The page's files, as a browser should keep them: libraries for good, since their paths hold a version; the page's own asked for anew."""

from __future__ import annotations

import mimetypes
from typing import Final

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOR_GOOD: Final = "public, max-age=31536000, immutable"
# A browser runs no module of another type, and what Windows' registry says of .js is anyone's guess.
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}


class PageFiles(StaticFiles):
    """The folder of the page; an upgrade of the package is seen with the next load."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file, or 304 where the browser has it."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = FOR_GOOD if path.replace("\\", "/").startswith("vendor/") else "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


for suffix, kind in TYPES.items():
    mimetypes.add_type(kind, suffix)

"""What the site adds to the pages in docs/: those that stand at the root of the repository, and the one script that would be fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
AT_THE_ROOT: Final = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_UP: Final = re.compile(rf"\]\(\.\./({'|'.join(map(re.escape, AT_THE_ROOT))})")
_DOWN: Final = re.compile(r"\]\(docs/")
_FETCHED: Final = '"https://unpkg.com/iframe-worker/shim"'
"""What mkdocs-material's plugin `offline` loads, so that the search works in pages that are opened as files."""
_LOADED: Final = re.compile(r'<(?:script|link|img|iframe|source|object|embed)\b[^>]*\b(?:src|href|data)="?(?:https?:)?//[^>]*>')
_HERE: Final = '"vendor/iframe-worker-1.0.4/shim/index.js"'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the program's icon."""
    for name, source in {**{name: name for name in AT_THE_ROOT}, "icon.svg": "packaging/app/icons/qwq.svg"}.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:  # noqa: ANN401 - mkdocs' own
    """On the site they stand beside the others; in the repository a folder is between them."""
    return _DOWN.sub("](", _UP.sub(r"](\1", markdown))


def on_post_page(output: str, page: Page, **_: Any) -> str:  # noqa: ANN401 - likewise
    """Load from beside the page what else would come from the network; all pages stand in one folder."""
    assert "/" not in page.url, page.url
    return output.replace(_FETCHED, _HERE)


def on_post_template(output_content: str, **_: Any) -> str:  # noqa: ANN401 - likewise
    """The same for the page of what is not found."""
    return output_content.replace(_FETCHED, _HERE)


def on_post_build(config: MkDocsConfig) -> None:
    """Nothing that a page loads may be elsewhere."""
    for page in Path(config.site_dir).glob("**/*.html"):
        if found := _LOADED.search(page.read_text("utf-8")):
            raise PluginError(f"{page.name} would load {found[0]}: put it into docs/vendor, by packaging/page_libraries.py")

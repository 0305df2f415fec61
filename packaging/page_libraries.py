"""Fetch what the web page ships of others: python packaging/page_libraries.py (with --check it only compares what is here).

Each archive comes by `npm pack` and is compared with its integrity value below; some of its files are written unchanged, with its
licence, to qwq_local/server/page/vendor/NAME-VERSION/ (axe-core, which only tests use, to tests/data/; what the documentation's search
needs where pages are opened as files, to docs/vendor/). HASHES.json beside them has the
SHA-512 of each file, so that --check needs no network. To move to another version: change it and its integrity here (`npm view NAME
dist.integrity`), the paths in the page's modules, and run this.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
VENDOR: Final = ROOT / "qwq_local/server/page/vendor"
TEST_DATA: Final = ROOT / "tests/data"
DOCS: Final = ROOT / "docs/vendor"
HASHES: Final = VENDOR / "HASHES.json"
LANGUAGES: Final = [
    "bash",
    "c",
    "cmake",
    "coq",
    "cpp",
    "csharp",
    "css",
    "diff",
    "dockerfile",
    "fortran",
    "go",
    "haskell",
    "ini",
    "java",
    "javascript",
    "json",
    "julia",
    "kotlin",
    "latex",
    "lua",
    "makefile",
    "markdown",
    "matlab",
    "perl",
    "php",
    "plaintext",
    "powershell",
    "python",
    "r",
    "ruby",
    "rust",
    "scala",
    "shell",
    "sql",
    "swift",
    "typescript",
    "xml",
    "yaml",
]


@dataclass(frozen=True)
class Library:
    """A package of npm's: which of its files (patterns of paths) are shipped, and where."""

    name: str
    version: str
    integrity: str
    files: tuple[str, ...]
    home: Path = VENDOR

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.home / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}"


LIBRARIES: Final = (
    Library(
        "katex",
        "0.19.1",
        "sha512-jG8uKntjSEcm2EpQOh0XturpPuuC9r3Sq5HLHdsFdWZT27E672SF19QEi+of0/YeOy15lDgRhKvr5614uRrEfA==",
        ("LICENSE", "dist/katex.min.js", "dist/katex-swap.min.css", "dist/fonts/*.woff2"),
    ),
    Library(
        "marked",
        "18.2.1",
        "sha512-ii4bxCTCqqwpT86XZWgJNs+ZnAIZksmLGYMViWA7PDIXYIeNo1x6cDdX3JOip9NM/cI6p8z57FxliACboTruMA==",
        ("LICENSE", "lib/marked.esm.js"),
    ),
    Library(
        "dompurify",
        "3.4.18",
        "sha512-ofe3wI/uNm68HInABYFJYqQxRw1EaKAjNdrFVKqjUY+UZurvNd2L/HuQe097s/4RivWiZyP6tT7aoT8atjfhwg==",
        ("LICENSE", "dist/purify.min.js"),
    ),
    Library(
        "@highlightjs/cdn-assets",
        "11.12.0",
        "sha512-KvOKXODaiFmId9xaq3xc5xCL66wVLUuOngDbO9B/kewbFTqdGbn2nJxNhN3H5R1cgDTVj6R8vH0zgiNDEGjpDw==",
        ("LICENSE", "es/core.min.js", *(f"es/languages/{language}.min.js" for language in LANGUAGES)),
    ),
    Library(
        "axe-core",
        "4.14.1",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        ("LICENSE", "axe.min.js"),
        TEST_DATA,
    ),
    Library(
        "iframe-worker",
        "1.0.4",
        "sha512-roeaaI+Lg1LJNfgpCjoRe/+WzEjy9+Z08LoEvu85MCPbBjwm+qXz8Ag5U05lHa6V1CysZyGzE0SOkAtSUA5q7Q==",
        ("LICENSE", "shim/index.js"),
        DOCS,
    ),
)


def packed(library: Library, folder: Path) -> bytes:
    """The archive, as npm fetches it. Raises ValueError where it is not the one that was pinned."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to fetch the page's libraries")
    wanted = f"{library.name}@{library.version}"
    done = subprocess.run([npm, "pack", "--silent", wanted], cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603 - a fixed command
    archive = (folder / done.stdout.strip().splitlines()[-1]).read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if found != library.integrity:
        raise ValueError(f"{wanted} is {found}, not the archive that was pinned: {library.integrity}")
    return archive


def chosen(library: Library, archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The files that are shipped: their path in the package, and their bytes."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as packages:
        for member in packages:
            path = member.name.partition("/")[2]
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in library.files):
                content = packages.extractfile(member)
                assert content, path
                yield path, content.read()


def write(library: Library) -> None:
    """Its folder, made anew; older versions of it go."""
    stem = library.folder.name.removesuffix(library.version)
    for old in library.home.glob(f"{stem}*"):
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory() as folder:
        for path, content in chosen(library, packed(library, Path(folder))):
            file = library.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def hashes() -> dict[str, str]:
    """The SHA-512 of every file that lies in the libraries' folders, by its path from the root."""
    files = sorted(path for library in LIBRARIES for path in library.folder.rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix(): hashlib.sha512(path.read_bytes()).hexdigest() for path in files}


def main() -> int:
    """Fetch, or compare."""
    if "--check" in sys.argv[1:]:
        known: dict[str, str] = json.loads(HASHES.read_text("utf-8"))
        found = hashes()
        wrong = sorted(path for path in known.keys() | found.keys() if known.get(path) != found.get(path))
        for path in wrong:
            sys.stderr.write(f"{path} is not what was fetched: run python packaging/page_libraries.py\n")
        return int(bool(wrong))
    for library in LIBRARIES:
        write(library)
    HASHES.write_text(json.dumps(hashes(), indent=0) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

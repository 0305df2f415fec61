"""The package's copyright file (debian.org/doc/packaging-manuals/copyright-format/1.0): the licence of everything that the app packs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

FORMAT: Final = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"
TOOLS: Final = frozenset({"pip", "setuptools", "wheel", "pyinstaller-hooks-contrib", "altgraph", "packaging"})
"""In the environment to build with, and not packed."""
LICENCE_FILE: Final = re.compile(r"(^|/)(LICEN[CS]E|COPYING|NOTICE)[^/]*$", re.IGNORECASE)
_APACHE: Final = r"Apache License\s+Version 2\.0, January 2004.*?(?:END OF TERMS AND CONDITIONS|additional\s+liability\.(?!\s+END))"
COMMON: Final = {
    re.compile(_APACHE, re.DOTALL | re.IGNORECASE): "Apache-2.0",
    re.compile(r"GNU GENERAL PUBLIC LICENSE\s+Version (\d).*?END OF TERMS AND CONDITIONS", re.DOTALL): "GPL-{}",
    re.compile(r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version (\d).*?(?=\Z|\n-{5})", re.DOTALL): "LGPL-{}",
}
"""Licences by their beginning and their end, and what they are called in /usr/share/common-licenses."""
OWN: Final = "qwq-local"
SPDX: Final = {
    "MIT License": "MIT",
    "The MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD-3-clause",
    "GNU General Public License v2 (GPLv2)": "GPL-2+",
    "BSD-3-Clause": "BSD-3-clause",
}


def copyright_file(tree: Path, environment: Path, app: Path) -> str:
    """The whole file; `environment` is the one that the app was built in, and `app` where it lies now."""
    entries = [_own(), *_packages(environment), *_page_libraries(tree), *_interpreter(environment)]
    head = f"Format: {FORMAT}\nUpstream-Name: {OWN}\nComment: {_folded(f'{len(entries) - 1} other works are packed below {app.name}.')}\n"
    return "\n".join([head, *entries])


def _own() -> str:
    return _paragraph("*", "The qwq-local developers", "Apache-2.0", _at("Apache-2.0"))


def _at(name: str) -> str:
    return f"On Debian systems, the full text of this licence is in /usr/share/common-licenses/{name}."


def _packages(environment: Path) -> Iterator[str]:
    """Each Python package, by the files that it calls its licence."""
    folders = [str(path) for path in environment.glob("lib/python*/site-packages")]
    found = {dist.metadata["Name"].casefold(): dist for dist in distributions(path=folders)}
    for name in sorted(found.keys() - TOOLS - {OWN}):
        dist = found[name]
        text = "\n\n".join(_texts(dist)) or f"See the page of {dist.metadata['Name']} on PyPI."
        yield _paragraph(_place(dist), _holders(text, dist), _licence_name(dist), text)


def _texts(dist: Distribution) -> Iterator[str]:
    for path in sorted(dist.files or ()):
        if LICENCE_FILE.search(path.as_posix()) and ".dist-info" in path.as_posix() and Path(str(path.locate())).is_file():
            yield Path(str(path.locate())).read_text("utf-8", "replace")


def _place(dist: Distribution) -> str:
    """The folders or modules that it has: below _internal where they are files, else packed in the programs."""
    said = (dist.read_text("top_level.txt") or "").split() or [dist.metadata["Name"].replace("-", "_")]
    return " ".join(f"usr/lib/qwq-local/_internal/{name}*" for name in said)


def _licence_name(dist: Distribution) -> str:
    facts = dist.metadata.json
    said = str(facts.get("license_expression") or facts.get("license") or "")
    classifiers = [text.rpartition(" :: ")[2] for text in dist.metadata.get_all("Classifier") or () if text.startswith("License :: ")]
    first = said if said and "\n" not in said and len(said) < 60 else next(iter(classifiers), "other")
    spelled = SPDX.get(first, first)
    expression = " ".join(spelled.split()).replace(" AND ", " and ").replace(" OR ", " or ")
    return expression if re.fullmatch(r"[\w.+-]+( (and|or) [\w.+-]+)*", expression) else re.sub(r"[^\w.+]+", "-", expression).strip("-")


def _holders(text: str, dist: Distribution) -> str:
    lines = [line.strip(" *#") for line in text.splitlines() if re.match(r"[\s*#]*copyright\b.*\d{4}", line, re.IGNORECASE)]
    facts = dist.metadata.json
    author = str(facts.get("author") or facts.get("author_email") or "its authors")
    return "\n ".join(dict.fromkeys(lines)) or " ".join(author.split())


def _page_libraries(tree: Path) -> Iterator[str]:
    """What the web page ships of others."""
    for path in sorted((tree / "qwq_local/server/page/vendor").glob("*/LICENSE")):
        text = path.read_text("utf-8")
        name = (
            "Apache-2.0 or MPL-2.0" if path.parent.name.startswith("dompurify") else "BSD-3-clause" if "Redistribution" in text else "MIT"
        )
        lines = [line.strip() for line in text.splitlines() if line.strip().casefold().startswith("copyright")]
        yield _paragraph(
            f"usr/lib/qwq-local/_internal/qwq_local/server/page/vendor/{path.parent.name}/*", "\n ".join(lines) or "its authors", name, text
        )


def _interpreter(environment: Path) -> Iterator[str]:
    """Python itself."""
    base = dict(line.split(" = ", 1) for line in (environment / "pyvenv.cfg").read_text("utf-8").splitlines() if " = " in line)
    text = next(
        (path.read_text("utf-8") for path in Path(base["home"]).parent.glob("lib/python3*/LICENSE.txt")),
        "See docs.python.org/3/license.html.",
    )
    files = "usr/lib/qwq-local/_internal/libpython* usr/lib/qwq-local/_internal/python3* usr/lib/qwq-local/_internal/base_library.zip"
    yield _paragraph(files, "2001-2026 Python Software Foundation", "PSF-2.0", text)


def _paragraph(files: str, holders: str, name: str, text: str) -> str:
    return f"Files: {files}\nCopyright: {holders}\nLicense: {name}\n{_block(text)}\n"


def _block(text: str) -> str:
    """Every line indented, and a dot for an empty one; long licences that every Debian has are only referred to."""
    for pattern, name in COMMON.items():
        text = pattern.sub(lambda found, name=name: f"[{_at(name.format(*found.groups()))}]", text)  # type: ignore[misc]
    lines = [line.rstrip() for line in text.expandtabs().strip().splitlines()]
    return "\n".join(f" {line}" if line else " ." for line in lines)


def _folded(text: str) -> str:
    return "\n ".join(textwrap.wrap(text, 76))

"""Draw the app's icon: python packaging/app/icons.py (it needs Pillow) writes packaging/app/icons/.

One drawing, on a square of 32 units: qwq.svg has it as it is, the others are drawn eight times as large and made small.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

FOLDER: Final = Path(__file__).with_name("icons")
UNITS: Final = 32.0
ROUND: Final = 7.0
BLUE, WHITE = "#4b4fb8", "#ffffff"
STROKE: Final = 2.3
EYES: Final = ((9.2, 13.6), (22.8, 13.6))
EYE_RADIUS: Final = 4.3
TAIL: Final = ((1.6, 2.0), (4.3, 5.0))
"""Of each eye, which makes a Q of it: from there to there, as seen from its middle."""
MOUTH: Final = ((12.4, 21.4), (14.2, 24.6), (16.0, 21.4), (17.8, 24.6), (19.6, 21.4))
PNG_SIZES: Final = (16, 24, 32, 48, 64, 128, 256, 512)
WINDOWS_SIZES: Final = (16, 24, 32, 48, 64, 128, 256)
MAC_SIZES: Final = {b"ic11": 32, b"ic12": 64, b"ic07": 128, b"ic08": 256, b"ic09": 512}
MAC_MARGIN: Final = 0.1
DETAIL: Final = 8


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "qwq.svg").write_text(as_svg(), "utf-8")
    for size in PNG_SIZES:
        (FOLDER / f"qwq-{size}.png").write_bytes(as_png(drawn(size)))
    drawn(512).save(FOLDER / "qwq.ico", sizes=[(size, size) for size in WINDOWS_SIZES])
    (FOLDER / "qwq.icns").write_bytes(as_icns())


def as_png(image: Image.Image) -> bytes:
    """In so many colours as a drawing of two needs for its edges."""
    written = io.BytesIO()
    image.quantize(48, Image.Quantize.FASTOCTREE).save(written, "PNG", optimize=True)
    return written.getvalue()


def as_icns() -> bytes:
    """PNGs one after the other, each behind its kind and length, which counts these eight bytes ("Apple Icon Image format")."""
    parts = [(kind, as_png(drawn(size, MAC_MARGIN))) for kind, size in MAC_SIZES.items()]
    body = b"".join(struct.pack(">4sI", kind, 8 + len(png)) + png for kind, png in parts)
    return struct.pack(">4sI", b"icns", 8 + len(body)) + body


def as_svg() -> str:
    """The drawing, in SVG."""
    eyes = "".join(f'<circle cx="{x}" cy="{y}" r="{EYE_RADIUS}"/>' for x, y in EYES)
    (x1, y1), (x2, y2) = TAIL
    tails = " ".join(f"M{x + x1:g} {y + y1:g}L{x + x2:g} {y + y2:g}" for x, y in EYES)
    mouth = "M" + "L".join(f"{x:g} {y:g}" for x, y in MOUTH)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="{ROUND:g}" fill="{BLUE}"/>'
        f'<g fill="none" stroke="#fff" stroke-width="{STROKE}" stroke-linecap="round" stroke-linejoin="round">'
        f'{eyes}<path d="{tails} {mouth}"/></g></svg>\n'
    )


def drawn(size: int, margin: float = 0.0) -> Image.Image:
    """The drawing on so many pixels squared; `margin` is the empty share on each side, which icons on macOS have."""
    scale = size * DETAIL / UNITS
    image = Image.new("RGBA", (size * DETAIL, size * DETAIL))
    shown = scale * (1 - 2 * margin)
    pen = ImageDraw.Draw(image)
    start = size * DETAIL * margin

    def at(x: float, y: float) -> tuple[float, float]:
        return start + x * shown, start + y * shown

    pen.rounded_rectangle((*at(0, 0), *at(UNITS, UNITS)), ROUND * shown, fill=BLUE)
    half = STROKE / 2
    for x, y in EYES:
        outer, inner = EYE_RADIUS + half, EYE_RADIUS - half
        pen.ellipse((*at(x - outer, y - outer), *at(x + outer, y + outer)), fill=WHITE)
        pen.ellipse((*at(x - inner, y - inner), *at(x + inner, y + inner)), fill=BLUE)
    lines = [MOUTH, *([(x + dx, y + dy) for dx, dy in TAIL] for x, y in EYES)]
    for line in lines:
        pen.line([at(x, y) for x, y in line], fill=WHITE, width=round(STROKE * shown))
        for x, y in line:
            pen.ellipse((*at(x - half, y - half), *at(x + half, y + half)), fill=WHITE)
    return image.resize((size, size), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()

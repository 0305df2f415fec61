"""Where an answer's program stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwq_local.grading.fences import blocks, program_in


@pytest.mark.parametrize(
    ("content", "program"),
    [
        ("```python\nprint(1)\n```", "print(1)"),
        ("First\n```python\n1\n```\nbetter:\n```python\n2\n```\nDone.", "2"),
        ("```Python3\n1\n```", "1"),
        ("``` py\n1\n```", "1"),
        ('```python title="a.py"\n1\n```', "1"),
        ("```{python}\n1\n```", "1"),
        ("```\n1\n```", "1"),
        ("~~~python\n1\n~~~", "1"),
        ("````python\n'''\n```\n'''\n````", "'''\n```\n'''"),
        ("```python\n1\n```\nIt prints:\n```\n2\n```", "1"),
        ("```python\n1\n```\n```bash\npython it.py\n```", "1"),
        ("```cpp\nint main() {}\n```", None),
        ("no block", None),
        ("1. So:\n   ```python\n   if x:\n       y()\n   ```", "if x:\n    y()"),
        ("```python\ncut off in", "cut off in"),
        ("```python\r\nprint(1)\r\n```\r\n", "print(1)\r"),
        ("a `print(1)` b ```not a block``` c", None),
        ("```python\n```", ""),
    ],
)
def test_the_program_is_the_last_block_of_python(content: str, program: str | None) -> None:
    assert program_in(content) == program


@given(st.text(st.sampled_from("`~ \npython'a"), max_size=60))
def test_any_text_has_blocks_or_none(content: str) -> None:
    assert all(text in content or "\n" in text or " " in content for _, text in blocks(content))

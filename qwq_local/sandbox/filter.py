"""What the kernel asks about each system call of a confined process (pure): seccomp's program, in BPF (linux/filter.h, linux/seccomp.h)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from qwq_local.sandbox.syscalls import ABSENT, DEMANDS, MACHINES, NEWEST, REFUSED, Demand

_LOAD: Final = 0x20
"""BPF_LD | BPF_W | BPF_ABS, of struct seccomp_data: the call's number at 0, the machine at 4, six arguments of 8 bytes from 16 on."""
_AND: Final = 0x54
_IF_EQUAL: Final = 0x15
_IF_GREATER: Final = 0x25
_IF_NOT_LESS: Final = 0x35
_RETURN: Final = 0x06

_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_ERROR: Final = 0x00050000
_X32: Final = 0x40000000
"""The bit of x86-64's second set of calls, whose numbers mean others."""

_Instruction = tuple[int, int, int, int]
"""Code, how many to skip if so, how many if not, operand."""


def seccomp_filter(machine: str) -> bytes:
    """The instructions, as `struct sock_filter` has them. Raises KeyError for a machine whose numbers are not known."""
    known = MACHINES[machine]
    plain = [number for name, number in known.numbers.items() if name not in DEMANDS]
    program: list[_Instruction] = [
        (_LOAD, 0, 0, 4),
        (_IF_EQUAL, 1, 0, known.audit_arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        *_when(_IF_NOT_LESS, _X32, [(_RETURN, 0, 0, _KILL)]),
        *(line for first, last in _ranges(plain) for line in _allow(first, last)),
        *(line for name, demands in DEMANDS.items() for line in _when(_IF_EQUAL, known.numbers[name], _check(demands))),
        *(line for number in ABSENT[machine].values() for line in _when(_IF_EQUAL, number, [_refuse(errno.ENOSYS)])),
        *_when(_IF_GREATER, NEWEST, [_refuse(errno.ENOSYS)]),
        _refuse(REFUSED),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in program)


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Runs of neighbours, first and last."""
    first = last = -2
    for number in sorted(numbers):
        if number != last + 1:
            if first >= 0:
                yield first, last
            first = number
        last = number
    yield first, last


def _allow(first: int, last: int) -> list[_Instruction]:
    if first == last:
        return _when(_IF_EQUAL, first, [(_RETURN, 0, 0, _ALLOW)])
    return [(_IF_NOT_LESS, 0, 2, first), (_IF_GREATER, 1, 0, last), (_RETURN, 0, 0, _ALLOW)]


def _when(test: int, operand: int, block: list[_Instruction]) -> list[_Instruction]:
    """A block that ends with a return, for calls whose number passes the test; the number is kept for others."""
    return [(test, 0, len(block), operand), *block]


def _check(demands: tuple[Demand, ...]) -> list[_Instruction]:
    block: list[_Instruction] = []
    for demand in demands:
        block += [(_LOAD, 0, 0, 16 + 8 * demand.argument), (_AND, 0, 0, demand.mask)]
        n_values = len(demand.values)
        block += [(_IF_EQUAL, n_values - place, 0, value) for place, value in enumerate(demand.values)]
        block.append(_refuse(REFUSED))
    return [*block, (_RETURN, 0, 0, _ALLOW)]


def _refuse(error: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERROR | error)

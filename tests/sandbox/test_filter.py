"""The filter of system calls, run by an interpreter of its instructions, for machines that are not here too."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pytest

from qwq_local.sandbox.filter import seccomp_filter
from qwq_local.sandbox.syscalls import DEMANDS, MACHINES
from tests.sandbox.hostile import NUMBERS

ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def decide(machine: str, number: int, arguments: Sequence[int] = (), audit_arch: int | None = None) -> int:
    """What the kernel would: BPF as linux/filter.h has it, on struct seccomp_data."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, MACHINES[machine].audit_arch if audit_arch is None else audit_arch, 0, *words)
    program = list(struct.iter_unpack("<HBBI", seccomp_filter(machine)))
    place = accumulator = 0
    while True:
        code, if_so, if_not, operand = program[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x15 | 0x25 | 0x35:
                is_so = {0x15: accumulator == operand, 0x25: accumulator > operand, 0x35: accumulator >= operand}[code]
                place += if_so if is_so else if_not
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"an instruction {code:#x}")


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_listed_is_allowed_and_nothing_else(machine: str) -> None:
    numbers = MACHINES[machine].numbers
    plain = {number for name, number in numbers.items() if name not in DEMANDS}
    demanding = {numbers[name] for name in DEMANDS}
    for number in set(range(600)) - demanding:
        assert (decide(machine, number) == ALLOW) == (number in plain), number


@pytest.mark.parametrize("machine", MACHINES)
def test_no_two_calls_have_one_number(machine: str) -> None:
    numbers = MACHINES[machine].numbers
    assert len(set(numbers.values())) == len(numbers) > 120


@pytest.mark.parametrize("machine", NUMBERS)
def test_what_hostile_programs_call_is_refused(machine: str) -> None:
    for name, number in NUMBERS[machine].items():
        if name not in {"clone", "clone3"}:
            assert decide(machine, number) == ERROR | errno.EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "is_allowed"),
    [
        ("clone", [0x3D0F00], True),
        ("clone", [17], False),
        ("clone", [0x01200011], False),
        ("clone", [0x3D0F00 | 0x10000000], False),
        ("clone", [0x3D0F00 | 0x40000000], False),
        ("clone", [0x00010000 << 32], False),
        ("socketpair", [1, 1 | 0o2000000], True),
        ("socketpair", [1, 2], False),
        ("socketpair", [2, 1], False),
        ("ioctl", [0, 0x5401], True),
        ("ioctl", [0, 0x5412], False),
        ("ioctl", [0, (1 << 32) | 0x5412], False),
        ("fcntl", [0, 1030], True),
        ("fcntl", [0, 1024], False),
        ("fcntl", [0, 1031], False),
        ("prctl", [15], True),
        ("prctl", [22], False),
        ("prlimit64", [0, 7], True),
        ("prlimit64", [1, 7], False),
    ],
)
def test_some_calls_are_allowed_with_some_arguments(machine: str, name: str, arguments: list[int], is_allowed: bool) -> None:
    assert decide(machine, MACHINES[machine].numbers[name], arguments) == (ALLOW if is_allowed else ERROR | errno.EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_machine_or_another_kind_end_the_program(machine: str) -> None:
    assert decide(machine, 0, audit_arch=0x40000003) == KILL
    assert decide(machine, 0x40000000) == KILL


@pytest.mark.parametrize("machine", MACHINES)
def test_newer_calls_are_said_not_to_exist(machine: str) -> None:
    assert decide(machine, 435) == ERROR | errno.ENOSYS
    assert decide(machine, 500) == ERROR | errno.ENOSYS

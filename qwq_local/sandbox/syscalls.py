"""The system calls that a confined program may make (data); every other is refused.

Left out is whatever starts a process, reaches another, opens a socket, asks for privileges, mounts, traces, makes memory that no limit
counts (memfd, shared segments, message queues), or splices pipes into files.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_TABLE: Final = """
# files
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69, pwritev 296 70, open 2 -,
openat 257 56, openat2 437 437, creat 85 -, close 3 57, close_range 436 436, lseek 8 62, dup 32 23, dup2 33 -, dup3 292 24,
# files' names and attributes
stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291, access 21 -,
faccessat 269 48, faccessat2 439 439, getdents 78 -, getdents64 217 61, statfs 137 43, fstatfs 138 44, readlink 89 -,
readlinkat 267 78, chmod 90 -, fchmod 91 52, fchmodat 268 53, utimensat 280 88, umask 95 166,
getxattr 191 8, lgetxattr 192 9, listxattr 194 11, llistxattr 195 12,
# folders
getcwd 79 17, chdir 80 49, fchdir 81 50, rename 82 -, renameat 264 38, renameat2 316 276, mkdir 83 -, mkdirat 258 34,
rmdir 84 -, link 86 -, linkat 265 37, unlink 87 -, unlinkat 263 35, symlink 88 -, symlinkat 266 36,
# what is in files
flock 73 32, fsync 74 82, fdatasync 75 83, fallocate 285 47, truncate 76 45, ftruncate 77 46,
# memory
mmap 9 222, mprotect 10 226, munmap 11 215, mremap 25 216, madvise 28 233, brk 12 214, msync 26 227, membarrier 324 283,
# signals, of which a PID namespace lets none out
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigtimedwait 128 137, rt_sigsuspend 130 133,
sigaltstack 131 132, restart_syscall 219 128, kill 62 129, tkill 200 130, tgkill 234 131, pause 34 -, alarm 37 -,
# waiting
pipe 22 -, pipe2 293 59, select 23 -, pselect6 270 72, poll 7 -, ppoll 271 73, epoll_create 213 -, epoll_create1 291 20,
epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -, eventfd2 290 19,
# timers
timer_create 222 107, timer_settime 223 110, timer_gettime 224 108, timer_getoverrun 225 109, timer_delete 226 111,
setitimer 38 103, getitimer 36 102, nanosleep 35 101, clock_nanosleep 230 115,
# clocks
clock_gettime 228 113, clock_getres 229 114, gettimeofday 96 169, time 201 -, times 100 153,
# threads
futex 202 98, set_tid_address 218 96, set_robust_list 273 99, get_robust_list 274 100, rseq 334 293, arch_prctl 158 -,
sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler 145 120, sched_get_priority_max 146 125,
sched_get_priority_min 147 126, getcpu 309 168, getpriority 140 141,
# who and where
getpid 39 172, gettid 186 178, getppid 110 173, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148,
getresgid 120 150, getgroups 115 158, getpgrp 111 -, getpgid 121 155, getsid 124 156, uname 63 160,
# limits, which nobody can raise
getrlimit 97 163, setrlimit 160 164, getrusage 98 165, sysinfo 99 179,
# life
execve 59 221, exit 60 93, exit_group 231 94, wait4 61 260, waitid 247 95, getrandom 318 278,
# what a pair of sockets is used by
sendto 44 206, recvfrom 45 207, shutdown 48 210, getsockname 51 204, getpeername 52 205, getsockopt 55 209,
# only with some arguments (see below)
clone 56 220, socketpair 53 199, ioctl 16 29, fcntl 72 25, prctl 157 167, prlimit64 302 261,
"""
"""Each with its number on x86-64 and on AArch64, where it has one (Linux's asm/unistd_64.h and asm-generic/unistd.h)."""


@dataclass(frozen=True)
class Demand:
    """What an argument must be, but for the bits outside `mask`: one of `values`. Only its lower 32 bits are looked at."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True)
class Machine:
    """A kind of CPU: its name in seccomp (AUDIT_ARCH_* in linux/audit.h), and the numbers of the calls that are allowed."""

    audit_arch: int
    numbers: Mapping[str, int]


def _numbers(column: int) -> dict[str, int]:
    rows = [row.split() for line in _TABLE.splitlines() if not line.startswith("#") for row in line.split(",") if row.strip()]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


MACHINES: Final = {"x86_64": Machine(0xC000003E, _numbers(1)), "aarch64": Machine(0xC00000B7, _numbers(2))}
"""By what `platform.machine()` calls them."""

_CLONE_THREAD: Final = 0x00010000
_CLONE_NEW: Final = 0x7E020000
"""All the flags that make namespaces."""

DEMANDS: Final[Mapping[str, tuple[Demand, ...]]] = {
    # A thread may be started, and nothing else: without processes there are no fork bombs, no daemons and no shells.
    "clone": (Demand(0, (_CLONE_THREAD,), _CLONE_THREAD), Demand(0, (0,), _CLONE_NEW)),
    # A stream between the process and itself (AF_UNIX, SOCK_STREAM), which asyncio needs. With datagrams one could name another end.
    "socketpair": (Demand(0, (1,)), Demand(1, (1,), 0xF)),
    # TCGETS and TIOCGWINSZ (is this a terminal?), FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: nothing that types into terminals.
    "ioctl": (Demand(1, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),),
    # F_DUPFD, F_GETFD to F_SETLKW, F_DUPFD_CLOEXEC, F_GETPIPE_SZ: no leases on others' files, no larger pipes.
    "fcntl": (Demand(1, (0, 1, 2, 3, 4, 5, 6, 7, 1030, 1032)),),
    # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: names of threads and of memory, as the C library gives them.
    "prctl": (Demand(0, (15, 16, 0x53564D41)),),
    # Of itself only.
    "prlimit64": (Demand(0, (0,)),),
}

ABSENT: Final = {"x86_64": {"clone3": 435}, "aarch64": {"clone3": 435}}
"""Said not to exist (ENOSYS), so that the C library takes the older call, whose arguments a filter can see."""

NEWEST: Final = 441
"""The highest number in the table; calls above it are said not to exist either, as older kernels say."""

REFUSED: Final = errno.EPERM

"""The program that confines itself and then becomes another: run by `process.py` as a script, so it imports nothing of this package.

Three processes: this one, which makes namespaces and a root folder of its own; the first process of the new PID namespace, with whose end
the kernel kills whatever is left in there; and the program, which has given up everything before its first line is read.

Arguments: three open files, by number. The job (marshalled: see `process.py`); where to report, a line for each fact, its name first
(`refused`, `started`, and at the end `code`, `seconds`, `cpu_seconds`, `peak_bytes`); and a lifeline, on which anything that comes, its end
included, means to stop.
Sources: unshare(2), mount_setattr(2), pivot_root(2), user_namespaces(7), capabilities(7), seccomp(2), setrlimit(2); linux/mount.h.
"""

from __future__ import annotations

import ctypes
import marshal
import math
import os
import resource
import select
import signal
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes as long to import as the rest of this to run
    from typing import Any, Final, NoReturn

_STAGE: Final = "/tmp"  # noqa: S108 - in a mount namespace of its own, where the root folder is built
_WORK: Final = "/work"
_PROGRAM: Final = "/program.py"
_ENVIRONMENT: Final = {
    "HOME": _WORK,
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",  # another for each thread would take 64 MiB of the address space that is allowed
    "PATH": "",
    "PYTHONHASHSEED": "0",  # what a program prints must not differ from run to run
    "PYTHONUTF8": "1",
    "TMPDIR": _WORK,
}

_UID_INSIDE: Final = 1000
_FIRST_UID: Final = 2_000_000_000
"""Beyond what distributions hand out. Root gives each program a user of its own, since limits on threads hold for users, not for root."""
_ALL_IDS: Final = "0 0 4294967295"

_NEW_USER: Final = 0x10000000
_NEW_OTHERS: Final = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
"""Mounts, control groups, host name, System V IPC, processes, network."""

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
_MNT_DETACH: Final = 2
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
"""Calls that have one number on every machine."""
_OPEN_TREE_CLONE, _MOVE_MOUNT_EMPTY_PATH = 1, 4
_READ_ONLY: Final = 1 | 2 | 4
"""Of a mount: nothing written, no set-user-id, no devices."""

_USUAL_STACK_BYTES: Final = 8 << 20
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("n_instructions", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _must(what: str, result: int) -> int:
    """The result of a call of the C library. Raises OSError that names it where it failed."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return result


def _syscall(what: str, number: int, *arguments: int | bytes) -> int:
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _must(what, _libc.syscall(ctypes.c_long(number), *words))


def _prctl(what: str, option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    _must(what, _libc.prctl(option, *words))


def separate() -> int:
    """Leave the namespaces of everyone else; which user the program is to be, as this process sees it.

    Who may not make namespaces as root, as in most containers, makes them as a user of its own.
    """
    if _is_root_of_the_machine():
        own = _FIRST_UID + os.getpid()
        if _libc.unshare(_NEW_OTHERS) == 0:
            return own
        _become(own)
        _prctl("prctl", _PR_SET_DUMPABLE, 1)  # or what is written below would be root's to write
    uid, gid = os.geteuid(), os.getegid()
    _must("unshare", _libc.unshare(_NEW_USER | _NEW_OTHERS))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{_UID_INSIDE} {uid} 1")
    _write("/proc/self/gid_map", f"{_UID_INSIDE} {gid} 1")
    return _UID_INSIDE


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _is_root_of_the_machine() -> bool:
    """Not of a container whose users are others outside."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return os.geteuid() == 0 and file.read().split() == _ALL_IDS.split()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def build_root(job: dict[str, Any], uid: int) -> None:
    """A root folder in memory that shows what the job names, to be read only, with the program and an empty folder to write in."""
    os.umask(0o022)
    _must("sethostname", _libc.sethostname(b"sandbox", ctypes.c_size_t(7)))
    _must("mount /", _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    trees = [(path, _clone(path)) for path in job["trees"]]  # before the stage hides what is below it
    _mount_memory(_STAGE, f"size={len(job['source']) * 4 + (1 << 20)},nr_inodes=1000,mode=755")
    for path, tree in trees:
        _show(tree, _STAGE + path)
    for path in job["hidden"]:
        _mount_memory(_STAGE + path, "size=4k,nr_inodes=1,mode=755", _MS_RDONLY)
    for path, target in job["links"]:
        os.makedirs(os.path.dirname(_STAGE + path), exist_ok=True)
        os.symlink(target, _STAGE + path)
    with open(_STAGE + _PROGRAM, "wb") as file:
        file.write(job["source"].encode("utf-8", "surrogatepass"))
    os.mkdir(_STAGE + _WORK)
    limits = job["limits"]
    _mount_memory(_STAGE + _WORK, f"size={limits['folder_bytes']},nr_inodes={limits['n_files'] + 1},mode=700,uid={uid},gid={uid}")
    os.chdir(_STAGE)
    _syscall("pivot_root", job["pivot_root"], b".", b".")
    _must("umount", _libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")
    _set_read_only(_AT_FDCWD, b"/", 0)


def _clone(path: str) -> int:
    """A copy of what is mounted at a path and below, to be read only: an open file that stands for it."""
    tree = _syscall(f"open_tree {path}", _OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE)
    _set_read_only(tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE)
    return tree


def _set_read_only(folder: int, path: bytes, flags: int) -> None:
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY)
    _must(
        "mount_setattr",
        _libc.syscall(ctypes.c_long(_MOUNT_SETATTR), ctypes.c_long(folder), path, ctypes.c_long(flags), attributes, ctypes.c_size_t(32)),
    )


def _show(tree: int, target: str) -> None:
    is_folder = stat.S_ISDIR(os.fstat(tree).st_mode)
    os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
    if not is_folder:
        _write(target, "")
    _syscall(f"move_mount {target}", _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_EMPTY_PATH)
    os.close(tree)


def _mount_memory(target: str, options: str, more_flags: int = 0) -> None:
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC | more_flags)
    _must(f"mount {target}", _libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", flags, options.encode()))


def give_up_privileges(uid: int) -> None:
    """Be that user, with nothing that could be got back, and out of other processes' sight."""
    if uid != os.geteuid():
        _become(uid)
    _prctl("prctl", _PR_SET_NO_NEW_PRIVS, 1)
    _prctl("prctl", _PR_SET_DUMPABLE, 0)


def set_limits(limits: dict[str, float]) -> None:
    """Those that hold for a process and for a user; none of them can be raised again."""
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_CPU: math.ceil(limits["cpu_seconds"]),
        resource.RLIMIT_FSIZE: limits["folder_bytes"],
        resource.RLIMIT_NOFILE: limits["n_open"],
        resource.RLIMIT_NPROC: limits["n_threads"] + 3,  # beside them: the first thread, and the two processes above it
        resource.RLIMIT_CORE: 1,  # with 0 a program that the system pipes cores into would still be started (core(5))
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 64,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)  # noqa: PLW2901 - the same value, allowed
        resource.setrlimit(kind, (value, value))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    usual = _USUAL_STACK_BYTES if hard == resource.RLIM_INFINITY else min(_USUAL_STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (usual, hard))  # a program may raise it: its stack is memory too


def filter_calls(instructions: bytes) -> None:
    """From here on the kernel asks these about every system call."""
    program = _FilterProgram(len(instructions) // 8, instructions)
    _must("seccomp", _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program), ctypes.c_ulong(0)))


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _must("capset", _libc.capset(header, (ctypes.c_uint32 * 6)()))


def _become_program(job: dict[str, Any]) -> NoReturn:
    os.chdir(_WORK)
    set_limits(job["limits"])
    _drop_capabilities()
    filter_calls(job["filter"])
    # -P: no folder of the program's own among those it imports from; -s: none of the user's; -B: no bytecode written.
    os.execve(job["executable"], [job["executable"], "-s", "-P", "-B", _PROGRAM], _ENVIRONMENT)  # noqa: S606 - what this is all for


def _report(status: int, **facts: object) -> None:
    os.write(status, "".join(f"{name} {fact}\n" for name, fact in facts.items()).encode("utf-8", "replace"))


def _be_first(job: dict[str, Any], status: int, lifeline: int) -> None:
    """The first process of its namespace: starts the program, waits for its end or for the lifeline's, and tells what it came to."""
    os.setsid()  # or what the program sends to its process group would reach outside
    _report(status, started=1)
    started_at = time.monotonic()
    program = os.fork()
    if program == 0:
        try:
            _become_program(job)
        except OSError as error:
            _report(status, refused=f"{error.filename}: {error.strerror}")
        finally:
            os._exit(127)
    ends = select.poll()
    for file in (os.pidfd_open(program), lifeline):
        ends.register(file, select.POLLIN)
    ends.poll()
    os.kill(program, signal.SIGKILL)  # it is no more, or is to be
    _, ended, usage = os.wait4(program, 0)
    _report(
        status,
        code=os.waitstatus_to_exitcode(ended),
        seconds=time.monotonic() - started_at,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )


def main() -> NoReturn:
    """Confine a program; ends when everything in its namespaces has ended."""
    job_file, status, lifeline = (int(word) for word in sys.argv[1:])
    for file in (job_file, status, lifeline):
        os.set_inheritable(file, False)
    with open(job_file, "rb") as source:
        job = marshal.load(source)  # noqa: S302 - our parent's
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first process of a namespace hears no signal that it has no handler for
    try:
        _write("/proc/self/oom_score_adj", "1000")  # where memory runs out, let this be killed rather than a model
        uid = separate()
        build_root(job, uid)
        give_up_privileges(uid)
        first = os.fork()
    except OSError as error:
        _report(status, refused=f"{error.filename}: {error.strerror}")
        os._exit(1)
    if first == 0:
        try:
            _be_first(job, status, lifeline)
        finally:
            os._exit(0)
    os.waitpid(first, 0)
    os._exit(0)


if __name__ == "__main__":
    main()

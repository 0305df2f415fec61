"""Programs that try to do harm: each prints ESCAPED where it succeeded in something that no trap sees.

@HOME@ is a folder with a canary, @PID@ the process that runs the program, @PORT@ where it listens, @MARK@ a name that nothing else has, and
@NR:name@ a system call's number.
"""

# ruff: noqa: E501, S108 - each program stands together, and tries to write where it must not

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, replace
from typing import Final

from qwq_local.sandbox import End, Limits

QUICK: Final = Limits(
    seconds=5.0, cpu_seconds=1.0, memory_bytes=256 << 20, output_bytes=1 << 20, folder_bytes=4 << 20, n_files=50, n_threads=8
)
STUCK: Final = replace(QUICK, seconds=0.3)
"""For programs that never end, most of them, so that they are waited for no longer than needed."""

NUMBERS: Final = {
    "x86_64": {
        "add_key": 248, "bpf": 321, "clone": 56, "clone3": 435, "finit_module": 313, "init_module": 175, "inotify_init1": 294,
        "io_uring_setup": 425, "kexec_load": 246, "keyctl": 250, "memfd_create": 319, "mq_open": 240, "name_to_handle_at": 303,
        "open_tree": 428, "perf_event_open": 298, "pidfd_getfd": 438, "pidfd_open": 434, "process_vm_readv": 310, "reboot": 169,
        "settimeofday": 164, "shmget": 29, "socket": 41, "swapon": 167, "userfaultfd": 323, "vmsplice": 278,
    },
    "aarch64": {
        "add_key": 217, "bpf": 280, "clone": 220, "clone3": 435, "finit_module": 273, "init_module": 105, "inotify_init1": 26,
        "io_uring_setup": 425, "kexec_load": 104, "keyctl": 219, "memfd_create": 279, "mq_open": 180, "name_to_handle_at": 264,
        "open_tree": 428, "perf_event_open": 241, "pidfd_getfd": 438, "pidfd_open": 434, "process_vm_readv": 270, "reboot": 142,
        "settimeofday": 170, "shmget": 194, "socket": 198, "swapon": 224, "userfaultfd": 282, "vmsplice": 75,
    },
}  # fmt: skip

PREFACE: Final = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *words):
    return libc.syscall(ctypes.c_long(number), *(ctypes.c_long(w) if isinstance(w, int) else w for w in words))

def attempt(what):
    try:
        result = what()
    except BaseException as error:
        print("failed:", type(error).__name__, str(error)[:100])
    else:
        print("failed" if result in (-1, False) else "ESCAPED", repr(result)[:100])

def read(path):
    with open(path, "rb") as file:
        return file.read()

def write(path, content=b"planted"):
    with open(path, "wb") as file:
        file.write(content)
"""


@dataclass(frozen=True)
class Hostile:
    """A program, its limits, and how it must end where that matters."""

    name: str
    body: str
    end: End | None = None
    limits: Limits = QUICK

    @property
    def source(self) -> str:
        """The whole program, its marks still to be filled in but for the numbers of system calls."""
        numbers = NUMBERS.get(platform.machine(), {})
        return re.sub(r"@NR:(\w+)@", lambda match: str(numbers.get(match[1], -1)), PREFACE + self.body)


def _attempts(*expressions: str) -> str:
    return "\n".join(f"attempt(lambda: {expression})" for expression in expressions)


PROCESSES: Final = [
    Hostile("fork bomb", "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass", "too slow"),
    Hostile("fork bomb by clone", "while True: call(@NR:clone@, 17, 0, 0, 0, 0)", "too slow", STUCK),
    Hostile("fork", _attempts("os.fork()", "os.forkpty()", "libc.fork()", "libc.vfork()")),
    Hostile("clone3", "import struct\narguments = ctypes.create_string_buffer(struct.pack('=11Q', 0, 0, 0, 0, 17, *[0] * 6))\n"
            "attempt(lambda: call(@NR:clone3@, arguments, 88))"),
    Hostile("clone into new namespaces", _attempts("call(@NR:clone@, 0x10000000 | 17, 0, 0, 0, 0)", "call(@NR:clone@, 0x10010000, 0, 0, 0, 0)")),
    Hostile("daemon that forks twice", """
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                write("@HOME@/daemon")
attempt(daemon)
"""),
    Hostile("shell", "import subprocess\n" + _attempts("subprocess.run(['/bin/sh', '-c', 'id'])", "os.posix_spawn('/bin/sh', ['sh'], {})")),
    Hostile("os.system", _attempts("os.system('id') == 0", "os.popen('id')")),
    Hostile("shell in its own place", _attempts("os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED'])", "os.execv('/usr/bin/env', ['env'])")),
    Hostile("a program that it brings", "write('/work/own', read(sys.executable))\nos.chmod('/work/own', 0o755)\n"
            "attempt(lambda: os.execv('/work/own', ['own', '-c', 'print(\"ESC\" + \"APED\")']))",
            limits=replace(QUICK, folder_bytes=64 << 20)),
    Hostile("a library that it brings", "import _ctypes\nwrite('/work/own.so', read(_ctypes.__file__))\n"
            "attempt(lambda: ctypes.CDLL('/work/own.so'))", limits=replace(QUICK, folder_bytes=64 << 20)),
    Hostile("pip install", "import subprocess\nattempt(lambda: subprocess.check_call([sys.executable, '-m', 'pip', 'install', 'six']))"),
    Hostile("multiprocessing", "import multiprocessing\nattempt(lambda: multiprocessing.Process(target=print).start())"),
    Hostile("kill everyone", "attempt(lambda: os.kill(@PID@, 9))\nos.kill(-1, 9)\nos.kill(-1, 15)"),
    Hostile("kill its parent", "os.kill(os.getppid(), 9)\nos.kill(os.getppid(), 15)\nos.kill(1, 2)\nos.kill(1, 19)\nprint('unheard')"),
    Hostile("kill its process group", "os.kill(0, 9)", "signal"),
    Hostile("kill every process by number", "for pid in range(2, 40000):\n    try:\n        pid != os.getpid() and os.kill(pid, 9)\n"
            "    except OSError:\n        pass"),
    Hostile("trace another", _attempts("libc.ptrace(16, @PID@, 0, 0)", "libc.ptrace(16, os.getppid(), 0, 0)", "libc.ptrace(0, 0, 0, 0)")),
    Hostile("read another's memory", _attempts("call(@NR:process_vm_readv@, @PID@, 0, 0, 0, 0, 0)", "call(@NR:process_vm_readv@, 1, 0, 0, 0, 0, 0)")),
    Hostile("take another's files", _attempts("call(@NR:pidfd_open@, 1, 0)", "call(@NR:pidfd_getfd@, 3, 1, 0)")),
    Hostile("limit its parent", "import resource\nattempt(lambda: resource.prlimit(1, resource.RLIMIT_CPU, (0, 0)))"),
]  # fmt: skip

FLOODS: Final = [
    Hostile("memory flood", "kept = []\nwhile True: kept.append(bytearray(1 << 20))", "too much memory"),
    Hostile("memory at once", "bytearray(1 << 40)", "too much memory"),
    Hostile("memory by mmap", "import mmap\nattempt(lambda: mmap.mmap(-1, 1 << 30))\nkept = []\nwhile True: kept.append(mmap.mmap(-1, 1 << 24))"),
    Hostile("memory in spite of errors", "kept = []\nwhile True:\n    try:\n        kept.append(bytearray(1 << 20))\n    except MemoryError:\n        pass",
            "too slow", STUCK),
    Hostile("shared memory", "from multiprocessing import shared_memory\nattempt(lambda: shared_memory.SharedMemory(create=True, size=1 << 20))\n"
            + _attempts("call(@NR:shmget@, 0, 1 << 20, 0o1600)", "libc.shm_open(b'/@MARK@', 0o102, 0o600)", "call(@NR:mq_open@, b'@MARK@', 66, 0o600, 0)")),
    Hostile("memfd", _attempts("os.memfd_create('x')", "call(@NR:memfd_create@, b'x', 0)")),
    Hostile("output flood", "while True: print('x' * 10000)", "too much output"),
    Hostile("error flood", "while True: os.write(2, b'x' * 60000)", "too much output"),
    Hostile("output flood, then silence", "os.write(1, b'x' * 2000000)\nsignal.pause()", "too much output"),
    Hostile("one large file", "with open('large', 'wb') as file:\n    while True: file.write(bytes(1 << 20))"),
    Hostile("many large files", "for number in range(1000):\n    write(str(number), bytes(1 << 20))"),
    Hostile("many small files", "for number in range(100000):\n    write(str(number), b'')\nprint('ESCAPED')"),
    Hostile("a file with holes", "attempt(lambda: os.truncate(os.open('holes', 0o102), 1 << 40))"),
    Hostile("folders in folders", "for _ in range(100000):\n    os.mkdir('d')\n    os.chdir('d')\nprint('ESCAPED')"),
    Hostile("open files", "kept = []\nfor _ in range(100000):\n    kept.append(os.pipe())\nprint('ESCAPED')"),
    Hostile("threads flood", "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()", "too slow", STUCK),
    Hostile("threads that count", "import threading\ndef count():\n    while True: pass\n"
            "for _ in range(6): threading.Thread(target=count).start()", "too slow"),
    Hostile("timers flood", "identity = ctypes.c_void_p()\nfor _ in range(100000):\n    if libc.timer_create(1, 0, ctypes.byref(identity)): break\n"
            "else:\n    print('ESCAPED')"),
    Hostile("recursion without end", "def f(n): return f(n + 1)\nf(0)"),
    Hostile("recursion past Python's limit", "sys.setrecursionlimit(10**9)\ndef f(n): return [f(n + 1)].sort(key=f)\nf(0)"),
    Hostile("deep nesting", "eval('(' * 100000 + ')' * 100000)"),
    Hostile("deep nesting for the compiler", "compile('-' * 1000000 + '1', '', 'eval')"),
    Hostile("a huge number", "10 ** 10 ** 8", "too slow", STUCK),
    Hostile("a regular expression without end", "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')", "too slow", STUCK),
    Hostile("a null pointer", "ctypes.string_at(0)", "signal"),
]  # fmt: skip

WAITS: Final = [
    Hostile("sleep", "import time\ntime.sleep(10**6)", "too slow", STUCK),
    Hostile("loop", "while True: pass", "too slow"),
    Hostile("deaf to every signal", "for number in range(1, 64):\n    try: signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
            "while True: pass", "too slow", STUCK),
    Hostile("stop itself", "os.kill(os.getpid(), signal.SIGSTOP)", "too slow", STUCK),
    Hostile("a fifo that nobody reads", "os.mkfifo('fifo')\nopen('fifo', 'w')", None, STUCK),
    Hostile("a lock on itself", "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()", "too slow", STUCK),
    Hostile("a thread that stays", "import threading, time\nthreading.Thread(target=time.sleep, args=(10**6,)).start()", "too slow", STUCK),
    Hostile("never end at exit", "import atexit, time\natexit.register(time.sleep, 10**6)\nsys.exit(0)", "too slow", STUCK),
    Hostile("close all files and stay", "import time\nos.closerange(0, 64)\ntime.sleep(10**6)", "too slow", STUCK),
    Hostile("wait for the debugger", "libc.ptrace(0, 0, 0, 0)\nos.kill(os.getpid(), signal.SIGTRAP)", "signal"),
]  # fmt: skip

NETWORK: Final = [
    Hostile("TCP", "import socket\nattempt(lambda: socket.create_connection(('127.0.0.1', @PORT@)))"),
    Hostile("TCP over IPv6", "import socket\nattempt(lambda: socket.socket(socket.AF_INET6))"),
    Hostile("TCP by a system call", "import struct\nfile = call(@NR:socket@, 2, 1, 0)\n"
            "attempt(lambda: libc.connect(file, struct.pack('=HH', 2, 0) + bytes(12), 16))"),
    Hostile("UDP", "import socket\nattempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @PORT@)))"),
    Hostile("raw and netlink sockets", "import socket\n" + _attempts("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")),
    Hostile("Unix socket", "import socket\nattempt(lambda: socket.socket(socket.AF_UNIX).connect('@HOME@/socket'))"),
    Hostile("abstract socket", "import socket\nattempt(lambda: socket.socket(socket.AF_UNIX).connect('\\x00@MARK@-stream'))"),
    Hostile("abstract socket from a pair", "import socket\nattempt(lambda: [mine.sendto(b'x', '\\x00@MARK@') for mine in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)])"),
    Hostile("a server", "import socket\nattempt(lambda: socket.create_server(('0.0.0.0', 0)))"),
    Hostile("DNS", "import socket\nattempt(lambda: socket.getaddrinfo('example.org', 80))"),
    Hostile("HTTP", "import urllib.request\nattempt(lambda: urllib.request.urlopen('http://127.0.0.1:@PORT@/'))"),
]  # fmt: skip

FILES: Final = [
    Hostile("read a canary", "attempt(lambda: read('@HOME@/canary'))\nattempt(lambda: os.listdir('@HOME@'))"),
    Hostile("delete a canary", "import shutil\n" + _attempts("os.remove('@HOME@/canary')", "shutil.rmtree('@HOME@')", "shutil.rmtree(os.path.dirname('@HOME@'))")),
    Hostile("delete everything", "import shutil\nshutil.rmtree('/', ignore_errors=True)\nattempt(lambda: os.remove(os.__file__))"),
    Hostile("write outside", _attempts(*(f"write('{path}')" for path in ("/planted", "@HOME@/planted", "/tmp/@MARK@", "/dev/shm/@MARK@", "/etc/@MARK@", "/proc/sys/kernel/core_pattern")),
            "write(os.path.dirname(os.__file__) + '/sitecustomize.py')", "write(sys.executable)", "write('/program.py')")),
    Hostile("links out of its folder", "os.symlink('@HOME@', 'out')\nos.symlink('/', 'root')\n"
            + _attempts("write('out/planted')", "read('out/canary')", "read('root/etc/passwd')", "os.link(os.__file__, 'hard')", "os.rename(os.__file__, 'moved')")),
    Hostile("up and out", _attempts("read('../../../../../../@HOME@/canary')", "read('../etc/passwd')")),
    Hostile("chmod", _attempts("os.chmod('/', 0o777)", "os.chmod(os.__file__, 0o777)", "os.chown('/work', 0, 0)") + "\nos.chmod('.', 0)"),
    Hostile("set-user-id", "write('x', b'#!')\n" + _attempts("os.setuid(0)", "os.setgid(0)", "os.setgroups([0])", "os.setreuid(0, 0)")
            + "\nos.chmod('x', 0o6777)"),
    Hostile("devices", _attempts(*(f"read('/dev/{name}')" for name in ("mem", "kmsg", "tty", "sda", "vda", "null", "ptmx")), "os.mknod('mem', 0o20666, os.makedev(1, 1))",
            "write('/dev/tty')", "os.open('/dev/ptmx', 2)", "os.openpty()")),
    Hostile("/proc", _attempts(*(f"read('/proc/{path}')" for path in ("@PID@/environ", "@PID@/mem", "1/environ", "1/root/etc/passwd", "self/mem", "kallsyms")),
            "os.listdir('/proc/@PID@/root')", "os.listdir('/proc')", "os.listdir('/sys')")),
    Hostile("the system's settings", _attempts(*(f"read('{path}')" for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/root/.bashrc")))),
    Hostile("open files that it was left", "for file in range(3, 4096):\n    try:\n        os.fstat(file)\n        print('ESCAPED', file)\n    except OSError:\n        pass"),
    Hostile("a way back to the old root", _attempts("os.fchdir(3)", "os.chroot('.')", "libc.pivot_root(b'.', b'.')", "libc.umount2(b'/', 2)", "call(@NR:name_to_handle_at@, -100, b'/', 0, 0, 0)")),
    Hostile("change what it was asked", "attempt(lambda: os.write(0, b'x'))\nattempt(lambda: os.ftruncate(0, 0))"),
    Hostile("the environment", "print(dict(os.environ))"),
    Hostile("lock the interpreter's files", "import fcntl\nfile = os.open(os.__file__, os.O_RDONLY)\nattempt(lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK))"),
]  # fmt: skip

KERNEL: Final = [
    Hostile("mount", _attempts("libc.mount(b'proc', b'/work', b'proc', 0, 0)", "libc.mount(b'x', b'/work', b'tmpfs', 0, 0)", "libc.mount(0, b'/', 0, 32, 0)",
            "call(@NR:open_tree@, -100, b'/', 1)")),
    Hostile("unshare", _attempts("libc.unshare(0x10000000)", "libc.unshare(0x20000)", "libc.setns(0, 0)")),
    Hostile("BPF, io_uring and the like", _attempts(*(f"call(@NR:{name}@, 0, 0, 0, 0, 0)" for name in ("bpf", "io_uring_setup", "userfaultfd", "perf_event_open", "vmsplice")))),
    Hostile("kernel modules", _attempts(*(f"call(@NR:{name}@, 0, 0, 0, 0)" for name in ("init_module", "finit_module", "kexec_load", "swapon")))),
    Hostile("the machine itself", _attempts("call(@NR:reboot@, 0xfee1dead, 672274793, 0, 0)", "call(@NR:settimeofday@, 0, 0)", "libc.sethostname(b'x', 1)")),
    Hostile("keys", _attempts("call(@NR:keyctl@, 0, -3, 1)", "call(@NR:add_key@, b'user', b'x', b'y', 1, -3)")),
    Hostile("watch files", _attempts("call(@NR:inotify_init1@, 0)", "libc.fanotify_init(0, 0)")),
    Hostile("raise its limits", "import resource\n" + _attempts(*(f"resource.setrlimit(resource.RLIMIT_{name}, (-1, -1))" for name in ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE")))),
    Hostile("go before others", _attempts("os.nice(-10)", "os.setpriority(os.PRIO_PROCESS, @PID@, 19)", "os.sched_setscheduler(0, 1, os.sched_param(1))")),
    Hostile("take off its filter", _attempts("libc.prctl(22, 0, 0, 0, 0)", "libc.prctl(38, 0, 0, 0, 0)", "libc.prctl(4, 1, 0, 0, 0)", "libc.prctl(23, 21, 0, 0, 0)", "libc.personality(0x40000)")),
    Hostile("calls of another kind", "attempt(lambda: call(0x40000000 + 41, 2, 1, 0))", "signal"),
    Hostile("type into the terminal", "import fcntl\nattempt(lambda: fcntl.ioctl(0, 0x5412, b'x'))\nattempt(lambda: fcntl.ioctl(1, 0x540e, 1))"),
    Hostile("dump core", "os.abort()", "signal"),
]  # fmt: skip

HOSTILE: Final = [*PROCESSES, *FLOODS, *WAITS, *NETWORK, *FILES, *KERNEL]

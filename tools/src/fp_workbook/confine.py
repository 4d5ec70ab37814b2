"""
Shutting a process in, so that a learner's mistake harms nothing.

The file that is graded may loop for ever, fill the memory, start processes without end, delete what it should not. It
is no enemy, but it does what its text says, and nobody has read the text. `confine` is called once, in a process of its
own, before the first line of that file runs, and cannot be undone. It builds three walls:

1. **Limits** on processor time, memory, size and number of files, number of processes. Root is not bound by the last
   one, so root first becomes a user that nobody else is. Python may live where only root can read (`/root`): of root's
   powers the process keeps one, to read any file (`CAP_DAC_READ_SEARCH`). In a container whose root lacks it, what
   the learner's file names in an `import` is there nevertheless: it has been imported before.
2. **Landlock** (from Linux 5.13, for every user): nothing outside the process's own folder can be changed, and from
   Linux 6.12 no process outside can be sent a signal.
3. **A guard** inside Python, on every system: an audit hook that answers an attempt to end or start a process, to use
   the network or to change a file outside the folder with a `PermissionError` that says so. It gives the clear
   sentence; code that goes around Python (`ctypes`) meets the other two.

macOS has the first wall (not for memory and the number of processes) and the third. Windows has the third alone. The
limit of time and the cap on output, which another process watches over, hold everywhere.
"""

import ctypes
import math
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.platform != "win32":  # here, not where it is used: then the files of Python may be out of reach
    import resource

__all__ = ["Limits", "confine", "spare_uid"]

LINUX = sys.platform == "linux"

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS = 1, 8, 38
CAP_DAC_READ_SEARCH = 2
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same on every architecture


@dataclass(frozen=True)
class Limits:
    """What one grading may use: seconds of the clock, bytes, numbers of files and of processes."""

    seconds: float = 10.0
    memory: int = 1 << 30
    output: int = 1 << 16
    file_size: int = 1 << 20
    files: int = 100
    processes: int = 8


def spare_uid(pid: int) -> int | None:
    """
    A user id that nobody has, different for each living process `pid`; None for an ordinary user, who cannot change.

    systemd keeps a list of the ranges that distributions give away: 1,879,048,192 and up are free everywhere, 60,578
    to 61,183 where a container maps 65,536 ids only.
    """
    if not LINUX or os.geteuid() != 0:
        return None
    for candidate in (2_000_000_000 + pid, 60_578 + pid % 600):
        with suppress(OSError):
            if all(_is_mapped(candidate, Path(f"/proc/self/{kind}_map")) for kind in ("uid", "gid")):
                return candidate
    return None


def _is_mapped(number: int, table: Path) -> bool:
    rows = [[int(field) for field in line.split()] for line in table.read_text("ascii").splitlines()]
    return any(first <= number < first + count for first, _, count in rows)


def confine(limits: Limits, folder: str, uid: int | None) -> None:
    """
    Shut the running process in: it may write in `folder` alone, which becomes its working directory.

    Parameters
    ----------
    limits
        What the process may use from now on.
    folder
        An existing directory.
    uid
        The user and group to become, from `spare_uid`; None to stay who one is.
    """
    os.chdir(folder)
    os.environ.update({"HOME": folder, "TMPDIR": folder, "TEMP": folder, "TMP": folder})
    sys.dont_write_bytecode = True
    if uid is not None:
        with suppress(OSError):  # a container may have taken this power from its root
            os.chown(folder, uid, uid)
            _become(uid)
    _set_limits(limits)
    if LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)  # a change of user clears it: set it afterwards
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _landlock(libc, folder)
    sys.addaudithook(_guard(folder, limits.files))


def _become(uid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # capset(2), version 3: twice (effective, permitted, inheritable), low and high half of the 64 capabilities
    header = struct.pack("Ii", 0x20080522, 0)
    for kept in (1 << CAP_DAC_READ_SEARCH, 0):
        if libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)) == 0:
            return


def _set_limits(limits: Limits) -> None:
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + limits.seconds) + 1
    wanted = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: limits.files,
    }
    if LINUX:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        wanted[resource.RLIMIT_AS] = pages * resource.getpagesize() + limits.memory
        wanted[resource.RLIMIT_NPROC] = _count_tasks(os.getuid()) - 1 + limits.processes
    for which, most in wanted.items():
        _, hard = resource.getrlimit(which)
        above = (
            most + 1
        )  # at the soft limit of the processor a signal of its own says why, at the hard one comes the end
        if hard != resource.RLIM_INFINITY:
            most, above = min(most, hard), min(above, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(which, (most, above))


def _count_tasks(uid: int) -> int:
    """The threads of all processes of a user: what RLIMIT_NPROC counts."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            if process.stat().st_uid == uid:
                count += sum(1 for _ in (process / "task").iterdir())
    return max(count, 1)


def _landlock(libc: ctypes.CDLL, folder: str) -> None:
    libc.syscall.restype = ctypes.c_long
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    write_file, refer, truncate = 1 << 1, 1 << 13, 1 << 14
    changes = write_file | sum(1 << bit for bit in range(4, 13))  # remove and make whatever a folder can hold
    changes |= (refer if version >= 2 else 0) | (truncate if version >= 3 else 0)
    network = 0b11 if version >= 4 else 0  # TCP: bind, connect
    scoped = 0b11 if version >= 6 else 0  # abstract sockets, signals
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = libc.syscall(
        LANDLOCK_CREATE_RULESET, struct.pack("3Q", changes, network, scoped)[:size], ctypes.c_size_t(size), 0
    )
    if rules < 0:
        return
    for path, allowed in ((folder, changes), (os.devnull, changes & (write_file | truncate))):
        place = os.open(path, os.O_PATH)
        libc.syscall(LANDLOCK_ADD_RULE, rules, 1, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    libc.syscall(LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


STARTS = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
    }
)
CONNECTS = frozenset({"socket.bind", "socket.connect", "socket.sendmsg", "socket.sendto"})
CHANGES = frozenset(
    {
        "os.chmod",
        "os.chown",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.removexattr",
        "os.rename",
        "os.rmdir",
        "os.setxattr",
        "os.symlink",
        "os.truncate",
        "os.utime",
        "shutil.move",
        "shutil.rmtree",
    }
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _guard(folder: str, most_files: int) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook: Python calls it with the name and the arguments of whatever it is about to do."""
    home = os.path.realpath(folder)
    own, opened = os.getpid(), 0

    def refuse(what: str) -> None:
        raise PermissionError(f"a graded file may not {what}")

    def stays_inside(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return True  # an open file, a number
        real = os.path.realpath(os.fsdecode(path))
        return real == os.devnull or os.path.commonpath([home, real]) == home

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal opened
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & WRITES and not isinstance(path, int):
                opened += 1
                if not stays_inside(path):
                    refuse(f"write outside its own folder ({os.fsdecode(path)})")
                if opened > most_files:
                    refuse(f"open more than {most_files} files for writing")
        elif event in CHANGES:
            opened += event == "os.mkdir"
            outside = [path for path in args[:2] if not stays_inside(path)]
            if outside:
                refuse(f"change what is outside its own folder ({os.fsdecode(outside[0])})")
            if opened > most_files:
                refuse(f"make more than {most_files} files and folders")
        elif event in STARTS:
            refuse("start another process")
        elif event in CONNECTS:
            refuse("use the network")
        elif event == "os.killpg" or (event == "os.kill" and args[0] != own):
            refuse("send a signal to another process")

    return hook

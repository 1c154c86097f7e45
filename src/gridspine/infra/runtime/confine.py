"""Hard limits of a process that runs what strangers wrote, set by the kernel: memory, processor time, system calls.

Limits hold on any POSIX system. On Linux (x86-64, ARM64) a filter of system calls comes on top: no network, no other
program, no process of its own; and once everything it needs is in memory, no file either. Where the kernel does not
have it, the other fences stand alone: those of the engine inside (for SQL `gridspine.infra.archive.guard` and DuckDB
without external access; for Starlark its lack of any input or output), and no secrets in the environment.

Source: Linux seccomp(2), filter mode; classic BPF over ``struct seccomp_data``: nr at 0, arch at 4, args from 16.
"""

import ctypes
import os
import platform
import resource
import struct
from pathlib import Path

_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_FROM, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_CLONE_THREAD = 0x10000
_X32 = 0x40000000
_PR_SET_NO_NEW_PRIVS, _SET_FILTER, _ALL_THREADS = 38, 1, 1

# Numbers of system calls, by machine: (architecture's audit number, seccomp, clone, files, all else that is refused).
_MACHINES: dict[str, tuple[int, int, int, tuple[int, ...], tuple[int, ...]]] = {
    "x86_64": (
        0xC000003E, 317, 56,
        # open creat openat openat2 open_by_handle_at truncate rename link unlink symlink mkdir rmdir and their *at
        (2, 85, 257, 437, 304, 76, 82, 86, 87, 88, 83, 84, 264, 265, 263, 266, 258, 316),
        # socket connect accept sendto bind listen socketpair accept4, fork vfork execve execveat, kill ptrace,
        # process_vm_readv process_vm_writev, mount unshare setns, bpf perf_event_open userfaultfd memfd_create,
        # io_uring_setup io_uring_enter, pidfd_open pidfd_getfd, keyctl
        (41, 42, 43, 44, 49, 50, 53, 288, 57, 58, 59, 322, 62, 101, 310, 311, 165, 272, 308, 321, 298, 323, 319,
         425, 426, 434, 438, 250),
    ),
    "aarch64": (
        0xC00000B7, 277, 220,
        (56, 437, 265, 45, 38, 37, 35, 36, 34, 276),
        (198, 203, 202, 206, 200, 201, 199, 242, 221, 281, 129, 117, 270, 271, 40, 97, 268, 280, 241, 282, 279,
         425, 426, 434, 438, 219),
    ),
}  # fmt: skip
_CLONE3 = 435


def confine(memory_bytes: int, cpu_s: int | None = None) -> None:
    """Set the kernel's limits for this process: memory on top of what it maps now, processor time [s] from now on."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes,) * 2)
    if cpu_s is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        last_s = int(used.ru_utime + used.ru_stime) + cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (last_s, last_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def shut(*, files: bool) -> bool:
    """Give up network, programs and processes for good, and opening ``files`` too; no file may grow.

    Returns whether the kernel took the filter.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    machine = _MACHINES.get(platform.machine())
    if os.uname().sysname != "Linux" or machine is None:
        return False
    architecture, seccomp, clone, opening, others = machine
    program = _program(architecture, clone, (*others, *opening) if files else others)
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    buffer = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    # threads that run already are bound as well
    return bool(library.syscall(seccomp, _SET_FILTER, _ALL_THREADS, ctypes.c_char_p(described)) == 0)


def _program(architecture: int, clone: int, refused: tuple[int, ...]) -> bytes:
    """Return the filter: refused calls fail with EPERM, new processes too; of another architecture's there is none."""
    steps = [
        (_LOAD, 0, 0, 4),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_JUMP_FROM, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ENOSYS),  # its flags lie in memory: the C library falls back on clone
    ]
    for number in refused:
        steps += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    steps += [
        (_JUMP_EQUAL, 1, 0, clone),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, 16),
        (_JUMP_SET, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)

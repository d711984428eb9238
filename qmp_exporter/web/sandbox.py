"""A process -> the same, reaching only what it has open: no monitor, no other process, no file to write to.

A filter of system calls (seccomp(2)), by libseccomp, which every Debian has for apt and systemd. It needs no right and
no second user, so it holds in a shell, in a container and under systemd alike. It names what is denied and not what is
allowed: the latter changes with each release of libc and Python.

By ctypes: pyseccomp, the binding that can be had as a wheel, runs ldconfig and a compiler to find the library.
"""

import ctypes
import errno
import os
from typing import Final

_ALLOW: Final = 0x7FFF0000  # seccomp.h of libseccomp: SCMP_ACT_ALLOW
_ERRNO: Final = 0x00050000  # SCMP_ACT_ERRNO
_DENY: Final = _ERRNO | errno.EPERM
_UNKNOWN: Final = _ERRNO | errno.ENOSYS  # so that libc takes the older call, whose arguments can be looked at
_NE, _MASKED_EQ = 1, 7  # SCMP_CMP_*
_NO_SUCH_CALL: Final = -1  # __NR_SCMP_ERROR
_CLONE_THREAD: Final = 0x00010000  # sched.h
_WRITES: Final = (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC)

# Connections, and what could make one: a socket of a VM is as far as one of these away.
_CONNECTIONS: Final = "socket socketpair connect bind listen io_uring_setup io_uring_enter io_uring_register"
_PROCESSES: Final = (
    "execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise process_mrelease "
    "pidfd_open pidfd_getfd pidfd_send_signal kill tkill rt_sigqueueinfo rt_tgsigqueueinfo kcmp setpgid setsid "
    "setpriority sched_setscheduler sched_setparam sched_setattr sched_setaffinity ioprio_set migrate_pages move_pages"
)
_FILES: Final = (
    "creat openat2 open_by_handle_at unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mkdir "
    "mkdirat rmdir mknod mknodat chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat truncate setxattr "
    "lsetxattr removexattr lremovexattr utime utimes utimensat futimesat"
)
_SYSTEM: Final = (
    "mount umount umount2 move_mount fsopen fsmount open_tree mount_setattr pivot_root chroot setns unshare bpf "
    "perf_event_open userfaultfd add_key request_key keyctl init_module finit_module delete_module kexec_load "
    "kexec_file_load reboot swapon swapoff setuid setgid setreuid setregid setresuid setresgid setgroups capset "
    "settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname quotactl acct iopl ioperm personality"
)
DENIED: Final = tuple(f"{_CONNECTIONS} {_PROCESSES} {_FILES} {_SYSTEM}".split())


class NoFilter(OSError):
    """The filter is not there; says why."""


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp: an argument of a call, compared."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("mask_or_value", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def enter() -> None:
    """For this thread and all that it starts from now on, for good.

    :raise NoFilter: there is no libseccomp, or the kernel has no filters.
    """
    library = _library()
    context = library.seccomp_init(_ALLOW)
    if not context:
        raise NoFilter("seccomp_init failed")
    try:
        for name in DENIED:
            _deny(library, context, name)
        _deny(library, context, "clone3", action=_UNKNOWN)
        _deny(library, context, "clone", _Compare(0, _MASKED_EQ, _CLONE_THREAD, 0))
        _deny(library, context, "prlimit64", _Compare(0, _NE, 0))  # of another process
        for flag in _WRITES:
            _deny(library, context, "open", _Compare(1, _MASKED_EQ, flag, flag))
            _deny(library, context, "openat", _Compare(2, _MASKED_EQ, flag, flag))
        _checked(library.seccomp_load(context), "seccomp_load")
    finally:
        library.seccomp_release(context)


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise NoFilter(str(error)) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.POINTER(_Compare),
    ]
    return library


def _deny(library: ctypes.CDLL, context: int, name: str, *compared: _Compare, action: int = _DENY) -> None:
    call = library.seccomp_syscall_resolve_name(name.encode())
    if call == _NO_SUCH_CALL:  # libseccomp is older than the call; the kernel may know it all the same
        return
    array = (_Compare * len(compared))(*compared)
    _checked(library.seccomp_rule_add_array(context, action, call, len(compared), array), f"the rule for {name}")


def _checked(status: int, what: str) -> None:
    if status < 0:
        raise NoFilter(-status, f"{what} failed: {os.strerror(-status)}")

"""System calls that the kernel refuses, as older kernels and strict containers do, by a seccomp filter."""

import ctypes
import errno
import platform
from dataclasses import dataclass

_NUMBERS = {
    "x86_64": {"ioctl": 16, "madvise": 28, "mincore": 27, "process_madvise": 440},
    "aarch64": {"ioctl": 29, "madvise": 233, "mincore": 232, "process_madvise": 440},
}
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARGUMENTS_AT = 0, 16  # in struct seccomp_data
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


@dataclass(frozen=True)
class Refused:
    """Refuse a call, or only those with the number `advice` as their third argument."""

    call: str
    advice: int | None = None
    error: int = errno.EINVAL


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def refuse(*refused: Refused) -> None:
    """Have this process and its children refused these calls for the rest of their lives. Raises OSError."""
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        raise OSError(errno.ENOSYS, f"numbers of system calls are not known for {platform.machine()}")
    code: list[tuple[int, int, int, int]] = []
    for one in refused:
        code += [(_LOAD_WORD, 0, 0, _NUMBER_AT)]
        if one.advice is None:
            code += [(_JUMP_IF_EQUAL, 0, 1, numbers[one.call])]
        else:
            code += [(_JUMP_IF_EQUAL, 0, 3, numbers[one.call]), (_LOAD_WORD, 0, 0, _ARGUMENTS_AT + 2 * 8)]
            code += [(_JUMP_IF_EQUAL, 0, 1, one.advice)]
        code += [(_RETURN, 0, 0, _ERRNO | one.error)]
    code += [(_RETURN, 0, 0, _ALLOW)]
    program = _Program(len(code), (_Instruction * len(code))(*(_Instruction(*one) for one in code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no seccomp filter")

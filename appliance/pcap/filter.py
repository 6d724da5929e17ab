"""Classic BPF programs, run over stored packets. Pure.

Source: linux/filter.h, Documentation/networking/filter.rst; McCanne and Jacobson, The BSD Packet Filter, 1993.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Program"]

_MASK = 0xFFFFFFFF
_ARITHMETIC: dict[int, Callable[[int, int], int]] = {
    0x00: operator.add, 0x10: operator.sub, 0x20: operator.mul, 0x30: operator.floordiv, 0x40: operator.or_,
    0x50: operator.and_, 0x60: lambda a, b: a << b if b < 32 else 0, 0x70: lambda a, b: a >> b if b < 32 else 0,
    0x90: operator.mod, 0xA0: operator.xor,
}  # fmt: skip
_TESTS: dict[int, Callable[[int, int], object]] = {
    0x10: operator.eq, 0x20: operator.gt, 0x30: operator.ge, 0x40: operator.and_,
}  # fmt: skip
_NEG = 0x80
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_IMM, _ABS, _IND, _MEM, _LEN, _MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0


class _Instruction(NamedTuple):
    code: int
    if_true: int
    if_false: int
    k: int


class Program:
    """A filter program.

    Args:
        code: instructions of 8 bytes in host order, ``struct sock_filter``.

    Raises:
        ValueError: it is no program, or jumps out of itself.
    """

    def __init__(self, code: bytes) -> None:
        if len(code) % 8:
            raise ValueError("not a whole number of instructions")
        self._code = [_Instruction(*each) for each in struct.iter_unpack("=HBBI", code)]
        for at, each in enumerate(self._code):
            if not _is_known(each.code):
                raise ValueError(f"instruction {at} is unknown")
            ahead = 0
            if each.code & 7 == _JMP:
                ahead = max(each.if_true, each.if_false) if each.code & 0xF0 else each.k
            if at + 1 + ahead >= len(self._code) and each.code & 7 != _RET:
                raise ValueError(f"instruction {at} leads out of the program")

    def matches(self, data: bytes, length: int) -> bool:
        """Whether the filter keeps a packet.

        Args:
            data: what was captured of it.
            length: how long it was on the wire.
        """
        return not self._code or _run(self._code, data, length) != 0


def _is_known(code: int) -> bool:
    kind = code & 7
    if kind in (_LD, _LDX):
        return code & 0x18 in _SIZES and code & 0xE0 <= _MSH
    if kind == _ALU:
        return code & 0xF0 in _ARITHMETIC or code & 0xF0 == _NEG
    return kind != _JMP or not code & 0xF0 or code & 0xF0 in _TESTS


def _run(code: list[_Instruction], data: bytes, length: int) -> int:
    """Returns how much of the packet is kept; a read behind its end keeps nothing, as in the kernel."""
    a = x = at = 0
    memory = [0] * 16
    while True:  # jumps only lead forward, so it ends
        instruction = code[at]
        at += 1
        kind = instruction.code & 7
        if kind == _RET:
            return a if instruction.code & 0x18 == 0x10 else instruction.k
        if kind == _JMP:
            at += _ahead(instruction, a, x)
        elif kind in (_LD, _LDX):
            value = _load(instruction, data, length, x, memory)
            if value is None:
                return 0
            a, x = (value, x) if kind == _LD else (a, value)
        elif kind == _ALU:
            value = _compute(instruction, a, x)
            if value is None:
                return 0
            a = value
        elif kind == _MISC:
            a, x = (x, x) if instruction.code & 0x80 else (a, a)
        else:
            memory[instruction.k & 15] = a if kind == _ST else x


def _ahead(instruction: _Instruction, a: int, x: int) -> int:
    operation = instruction.code & 0xF0
    if not operation:
        return instruction.k
    operand = x if instruction.code & 8 else instruction.k
    return instruction.if_true if _TESTS[operation](a, operand) else instruction.if_false


def _load(instruction: _Instruction, data: bytes, length: int, x: int, memory: list[int]) -> int | None:
    mode, size = instruction.code & 0xE0, _SIZES[instruction.code & 0x18]
    if mode == _IMM:
        return instruction.k
    if mode == _LEN:
        return length
    if mode == _MEM:
        return memory[instruction.k & 15]
    start = instruction.k + x if mode == _IND else instruction.k
    if start + size > len(data):
        return None
    if mode == _MSH:
        return (data[start] & 15) * 4
    return int.from_bytes(data[start : start + size])


def _compute(instruction: _Instruction, a: int, x: int) -> int | None:
    operation = instruction.code & 0xF0
    if operation == _NEG:
        return -a & _MASK
    operand = x if instruction.code & 8 else instruction.k
    if not operand and operation in (0x30, 0x90):
        return None
    return _ARITHMETIC[operation](a, operand) & _MASK

"""Doubles as Zeek writes them in JSON: the digits of Grisu2, laid out by rapidjson's rules.

``repr`` will not do. Both print digits that read back as the same double, but ``repr`` always finds the shortest.
Grisu2 works with 64-bit numbers that are off by a unit in the last place, misses the shortest once in some thousand
numbers, and then prints 17 digits. Log lines of the two would not compare equal.

Source: Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers", PLDI 2010, section 5;
the layout and the choice of cached powers (every eighth, from 1e-348) are rapidjson's.
"""

from __future__ import annotations

import math
import struct

__all__ = ["render_double"]

_BITS = struct.Struct(">Q")
_REAL = struct.Struct(">d")

_HIDDEN = 1 << 52
_FRACTION = _HIDDEN - 1
_BIAS = 1075
_HALF = 1 << 63
_STEP = 8
_FIRST_POWER = -348
_LAST_POWER = 340
_EXACT = 1 << 53
# rapidjson: integers of up to 21 digits are written out, and up to five zeros behind the point.
_MAX_PLAIN_EXPONENT = 21
_MIN_PLAIN_EXPONENT = -6


def render_double(value: float) -> bytes:
    """Text of a double: ``0.0``, ``1056991897.46641``, ``1e-7``; ``null`` for infinity and NaN."""
    if not math.isfinite(value):
        return b"null"
    if value == math.floor(value) and -_EXACT < value < _EXACT:
        # A whole number below 2^53 is its own shortest text: its neighbours with fewer digits are a unit away.
        return b"%d.0" % value if value or math.copysign(1.0, value) > 0 else b"-0.0"
    sign = "-" if value < 0 else ""
    digits, exponent = _make_digits(abs(value))
    return (sign + _lay_out(digits, exponent)).encode("ascii")


def _lay_out(digits: str, exponent: int) -> str:
    """Write ``digits * 10**exponent``."""
    point = len(digits) + exponent
    if 0 < point <= _MAX_PLAIN_EXPONENT:
        return digits + "0" * exponent + ".0" if exponent >= 0 else f"{digits[:point]}.{digits[point:]}"
    if _MIN_PLAIN_EXPONENT < point <= 0:
        return "0." + "0" * -point + digits
    fraction = "." + digits[1:] if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1}"


def _make_power(exponent: int) -> tuple[int, int]:
    """Nearest ``f * 2**e`` with 64 bits in `f` to a power of ten."""
    shift = math.floor(exponent * math.log2(10)) - 63
    above, below = 10 ** max(exponent, 0) << max(-shift, 0), 10 ** max(-exponent, 0) << max(shift, 0)
    return (2 * above + below) // (2 * below), shift


_POWERS = [_make_power(exponent) for exponent in range(_FIRST_POWER, _LAST_POWER + 1, _STEP)]


def _make_digits(value: float) -> tuple[str, int]:
    """Digits of Grisu2, and the power of ten to scale them with."""
    bits = _BITS.unpack(_REAL.pack(value))[0]
    fraction, biased = bits & _FRACTION, bits >> 52
    f, e = (fraction | _HIDDEN, biased - _BIAS) if biased else (fraction, 1 - _BIAS)
    # The neighbourhood that reads back as the same double, scaled so that its upper bound has 64 bits.
    upper = 2 * f + 1
    shift = 64 - upper.bit_length()
    upper <<= shift
    e = e - 1 - shift
    lower = (4 * f - 1) << (shift - 1) if f == _HIDDEN else (2 * f - 1) << shift
    middle = f << (64 - f.bit_length())

    index, exponent = _choose_power(e)
    power, power_e = _POWERS[index]
    high = ((upper * power + _HALF) >> 64) - 1
    low = ((lower * power + _HALF) >> 64) + 1
    target = (middle * power + _HALF) >> 64
    return _generate(high, high - low, high - target, -(e + power_e + 64), exponent)


def _choose_power(e: int) -> tuple[int, int]:
    """Index of the cached power that makes a 64-bit number at ``2**e`` handy, and the power of ten that undoes it."""
    wanted = (-61 - e) * 0.30102999566398114 + 347
    index = (math.ceil(wanted) >> 3) + 1
    return index, -(_FIRST_POWER + _STEP * index)


def _generate(high: int, delta: int, distance: int, scale: int, exponent: int) -> tuple[str, int]:
    """Digits of `high` until what is left is within `delta`, then down to the nearest of ``high - distance``.

    All three count in units of ``2**-scale``.
    """
    whole, rest = high >> scale, high & ((1 << scale) - 1)
    digits = str(whole)
    for kappa in range(len(digits) - 1, -1, -1):
        unit = 10**kappa
        left = (whole % unit << scale) + rest
        if left <= delta:
            kept = digits[: len(digits) - kappa]
            return _round_down(kept, delta, left, unit << scale, distance), exponent + kappa
    kappa = 0
    mask = (1 << scale) - 1
    while True:
        rest *= 10
        delta *= 10
        distance *= 10
        digits += str(rest >> scale)
        rest &= mask
        kappa -= 1
        if rest < delta:
            return _round_down(digits, delta, rest, 1 << scale, distance), exponent + kappa


def _round_down(digits: str, delta: int, left: int, unit: int, distance: int) -> str:
    """Lower the last digit as long as that comes nearer to the number and stays in its neighbourhood."""
    last = int(digits[-1])
    while left < distance and delta - left >= unit and (left + unit < distance or 2 * distance > 2 * left + unit):
        last -= 1
        left += unit
    return digits[:-1] + chr(48 + last)

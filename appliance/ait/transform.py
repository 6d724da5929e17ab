"""The transform that AIT ships. Others are a site's own: any ``module:function``, bytes → bytes or None."""

from __future__ import annotations

__all__ = ["identity_transform"]


def identity_transform(data: bytes) -> bytes:
    """Return `data` as it is."""
    return data

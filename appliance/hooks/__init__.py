"""Hooks: the site's own Python, called for records and segments."""

from __future__ import annotations

from .steer import HookWarning, Reject, Retry

__all__ = ["HookWarning", "Reject", "Retry"]

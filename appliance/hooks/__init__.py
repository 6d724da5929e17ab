"""Hooks: the site's own Python, called for records and segments."""

from __future__ import annotations

from .steer import ExtractError, HookWarning, Reject, Retry

__all__ = ["ExtractError", "HookWarning", "Reject", "Retry"]

"""AIT's names in one place: what was ``from ait.core.bsc import …`` is ``from appliance.ait.bsc import …``."""

from __future__ import annotations

from .capturer import SocketStreamCapturer
from .manager import StreamCaptureManager
from .transform import identity_transform

__all__ = ["SocketStreamCapturer", "StreamCaptureManager", "identity_transform"]

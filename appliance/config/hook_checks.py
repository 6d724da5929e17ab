"""What types cannot tell about hooks: which keys go with which kind of queue, and which delays make sense."""

from __future__ import annotations

from appliance.config.report import Report
from appliance.config.shape import EACH, HOLE, select
from appliance.config.tables import Config

__all__ = ["check_hooks"]


def check_hooks(config: Config, report: Report) -> None:
    """Report what is wrong with each hook."""
    for key, hook in select(config, "hook", EACH):
        if hook.queue is not HOLE:
            for name in sorted(hook.foreign_keys):
                if (*key, name) in report.places:
                    report.add((*key, name), "is for durable queues", 'leave it out, or write queue = "durable"')
        if HOLE not in (hook.backoff, hook.backoff_max) and hook.backoff > hook.backoff_max:
            place = (*key, "backoff" if (*key, "backoff") in report.places else "backoff_max")
            report.add(place, f"backoff is longer than backoff_max: {hook.backoff} and {hook.backoff_max}")

"""The core of the recorder as a program, to be one more row of a benchmark of packet recorders: it records an interface
into one file until SIGINT, with `--index` a journal and an index beside it, and prints what it counted. It stays in C,
comes back five times a second, and writes the journal each time."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from appliance.native import (
    FlowTable,
    OutputKind,
    Ring,
    RingOutput,
    RingStatus,
    RingTap,
    SegmentIndexWriter,
    compile_filter,
)

RUN_MS = 200
DRAIN_MS = 50
MAX_FLOWS = 1 << 18


class Index:
    """Of one segment."""

    def __init__(self, path: Path, cutoff: int | None) -> None:
        self.tap = RingTap(FlowTable(cutoff=cutoff))
        self.writer = SegmentIndexWriter(MAX_FLOWS)
        self.journal = os.open(f"{path}.journal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.index = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)


class Recorder:
    def __init__(self, options: argparse.Namespace) -> None:
        kind = OutputKind[options.kind.upper()]
        program = compile_filter(options.filter, interface=options.interface) if options.filter else None
        self.index = Index(options.index, options.cutoff) if options.index else None
        self.output = RingOutput(kind, buffer_bytes=options.buffer_kib << 10)
        self.file = os.open(options.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.ring = Ring(
            options.interface, ring_bytes=options.ring_mib << 20, program=program, retire_ms=options.retire_ms
        )
        self.output.begin(
            self.file, linktype=self.ring.linktype, snaplen=262144, preallocate=options.preallocate_mib << 20
        )
        if self.index is not None:
            self.ring.attach(self.index.tap)
            self.index.tap.begin(self.index.writer, linktype=self.ring.linktype)
        self.stopping = False
        self.calls = 0

    def copy(self, run_ms: int) -> None:
        self.calls += 1
        status = self.ring.run(self.output, run_ms=run_ms)
        if status in (RingStatus.FAILED, RingStatus.BROKEN, RingStatus.GONE):
            raise OSError(self.output.error or self.ring.error, "recording failed")

    def write_journal(self) -> None:
        if self.index is not None:
            self.index.tap.journal(self.index.writer, self.index.journal, self.output.visible)

    def stop(self, *_: object) -> None:
        self.stopping = True

    def run(self) -> None:
        signal.signal(signal.SIGINT, self.stop)
        self.ring.listen()
        while not self.stopping:
            self.copy(RUN_MS)
            self.write_journal()

    def finish(self) -> None:
        self.ring.deafen()
        while self.ring.pending:
            self.copy(DRAIN_MS)
        segment, counts = self.output.finish(), self.ring.counts()
        told = {
            **segment._asdict(), "captured": segment.packets, "dropped": counts.kernel_drops, "blocks": counts.blocks,
            "cut": counts.cut, "calls": self.calls, "kind": self.output.kind.name,
        }  # fmt: skip
        if self.index is not None:
            self.index.tap.finish(self.index.writer, self.index.index, segment)
            told["flows"] = self.index.writer.counts().flows
            told["index_bytes"], told["journal_bytes"] = (
                os.fstat(fd).st_size for fd in (self.index.index, self.index.journal)
            )
        print(json.dumps(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--cutoff", type=int, help="bytes of a flow, with --index")
    parser.add_argument("--kind", choices=("automatic", "cached", "direct"), default="automatic")
    parser.add_argument("--filter", default="")
    parser.add_argument("--ring-mib", type=int, default=64)
    parser.add_argument("--retire-ms", type=int, default=50)
    parser.add_argument("--buffer-kib", type=int, default=0)
    parser.add_argument("--preallocate-mib", type=int, default=0)
    options = parser.parse_args()
    recorder = Recorder(options)
    recorder.run()
    recorder.finish()
    # What an interpreter costs at its end is not what a recorder costs.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

"""Build `appliance._native`: every C file of this directory and the cffi glue made from its headers.

The headers are the only source of the declarations. Two switches in the environment, ``1`` to turn them on:
``BROAPPLIANCE_SANITIZE`` builds with address and undefined-behaviour sanitizers, ``BROAPPLIANCE_WERROR`` turns the
development warnings on and makes them errors.
"""

from __future__ import annotations

import os
from pathlib import Path

import cffi
from setuptools import Extension
from setuptools.command.build_ext import build_ext

HEADERS = (
    *("json_row.h", "logwriter.h", "zmq_drain.h", "transcode.h", "batch_intake.h", "tsv.h"),
    *("broker_intake.h", "broker_frames.h"),
    *("pcap_file.h", "pcap_scan.h", "synth.h", "packet_batch.h", "receiver.h", "dgram.h", "ethernet.h", "filter.h"),
    *("packet_view.h", "flow_key.h", "community_id.h", "flow_table.h", "flow_query.h"),
    *("segment_index.h", "segment_lookup.h", "pcap_index.h", "pcap_merge.h"),
    *("ring_output.h", "ring.h", "ring_index.h"),
    "child.h",
)
"""In the order of their needs: a header may use the types of those before it."""

BASE_FLAGS = ["-O2", "-std=c11", "-fvisibility=hidden"]
WARNING_FLAGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZE_FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
SANITIZE_COMPILE_FLAGS = [*SANITIZE_FLAGS, "-g", "-O1", "-fno-omit-frame-pointer"]


def is_switched_on(name: str) -> bool:
    """Whether the environment asks for one of this module's switches."""
    return os.environ.get(name, "") not in ("", "0")


class BuildExt(build_ext):  # type: ignore[misc, unused-ignore]  # setuptools has types from version 71 on
    """`build_ext` that fills in the sources of the extension and makes its glue."""

    def finalize_options(self) -> None:
        """Name the sources early, because an sdist asks for them without building."""
        super().finalize_options()
        here = Path(__file__).resolve().parent
        for extension in self.extensions:
            # setuptools wants paths relative to the project, which is the working directory of every build
            extension.sources = sorted(f"{here.name}/{path.name}" for path in here.glob("*.c"))
            extension.depends = sorted(f"{here.name}/{path.name}" for path in here.glob("*.h"))
            extension.include_dirs = [here.name]
            extension.libraries = ["dl"]  # part of libc from glibc 2.34 on

    def build_extension(self, ext: Extension) -> None:
        """Compile the glue by itself (it cannot pass our warnings), then the extension as usual."""
        flags = list(BASE_FLAGS)
        if is_switched_on("BROAPPLIANCE_SANITIZE"):
            flags += SANITIZE_COMPILE_FLAGS
            ext.extra_link_args = [*ext.extra_link_args, *SANITIZE_FLAGS]
        glue = self.make_glue(ext.name)
        ext.extra_objects = [
            *ext.extra_objects,
            *self.compiler.compile(
                [str(glue)],
                output_dir=self.build_temp,
                include_dirs=ext.include_dirs,
                extra_postargs=[*ext.extra_compile_args, *flags],
                depends=ext.depends,
            ),
        ]
        if is_switched_on("BROAPPLIANCE_WERROR"):
            flags += WARNING_FLAGS
        ext.extra_compile_args = [*ext.extra_compile_args, *flags]
        super().build_extension(ext)

    def make_glue(self, name: str) -> Path:
        """Write the glue below the build directory; cffi restricts it to the limited API by itself."""
        here = Path(__file__).resolve().parent
        ffi = cffi.FFI()
        for header in HEADERS:
            ffi.cdef((here / header).read_text())
        includes = ["stddef.h", "stdint.h"]
        preamble = [f"#include <{header}>" for header in includes] + [f'#include "{header}"' for header in HEADERS]
        ffi.set_source(name, "\n".join(preamble))
        glue = Path(self.build_temp) / "glue.c"
        glue.parent.mkdir(parents=True, exist_ok=True)
        ffi.emit_c_code(str(glue))
        return glue

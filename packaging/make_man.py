"""Print the manual page, made from the command line's own help."""

from __future__ import annotations

import os
import sys

from argparse_manpage.manpage import Manpage

from appliance import __version__
from appliance.cli.parser import make_parser

# A page that does not depend on the day or on the width of a terminal can be compared with the one in the repository.
os.environ["COLUMNS"] = "100"
parser = make_parser()
parser.man_short_description = "one supervised process for a Bro/Zeek site"  # type: ignore[attr-defined]
page = Manpage(
    parser,
    _data={
        "prog": "broappliance",
        "project_name": "broappliance",
        "version": __version__,
        "manual_section": "8",
        "manual_title": "broappliance",
        "date": f"version {__version__}",
    },
)
sys.stdout.write(str(page))

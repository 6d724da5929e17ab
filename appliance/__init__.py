"""broappliance: one supervised process for a Bro/Zeek site."""

__version__ = "0.1.0"

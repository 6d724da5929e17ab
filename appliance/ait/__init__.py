"""For those who come from AIT-Core's binary stream capturer: its configuration file and its Python calls."""

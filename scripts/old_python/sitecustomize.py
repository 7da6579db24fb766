"""What incense's setup.py takes from configparser, and Python has no longer since 3.12.

It is for installing incense, with this folder on PYTHONPATH; see the Makefile.
"""

import configparser

for module_or_class, old, new in (
    (configparser, "SafeConfigParser", configparser.ConfigParser),
    (configparser.ConfigParser, "readfp", configparser.ConfigParser.read_file),
):
    if not hasattr(module_or_class, old):
        setattr(module_or_class, old, new)

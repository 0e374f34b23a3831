# SPDX-License-Identifier: GPL-2.0
"""What goes wrong through no fault of the program."""


class Trouble(Exception):
    """What went wrong, and what to do about it, for people."""

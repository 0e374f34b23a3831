# SPDX-License-Identifier: GPL-2.0
"""What bench/report is made of: figures of avm-bench in, one web page out."""

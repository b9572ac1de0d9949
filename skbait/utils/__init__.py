# SPDX-License-Identifier: BSD-3-Clause
"""Small things that the rest of the package shares."""

# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of skbait: see README.md in this folder."""

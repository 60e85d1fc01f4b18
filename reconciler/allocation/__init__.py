"""Settling what a manifest leaves open: subnets, addresses, MACs, parents, MTU, and what spans hosts.

`allocate` makes a topology of a manifest and what was observed; all else here is its parts.
"""

"""Breaks everything around Paybell under load, then reads the books: nothing lost, nothing done twice.

`make torture SECONDS=60 SEED=…`; `docs/operations.md` lists the faults. Not part of the installed package.
"""

"""Published models as plain functions, floats or arrays in and out: one file per law, its source in its docstring.

Law: implemented as published and never fitted to a result; every constant is an argument.
"""

"""Texts in a statement that cannot take them as parameters.

What belongs here: one rule of quoting, which DuckDB, Spark and LanceDB share. What does not: statements.
"""


def quoted(text: object) -> str:
    """A text, or what stands for one, such as a path, as a literal."""
    return "'" + str(text).replace("'", "''") + "'"

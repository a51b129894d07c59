"""How fast it is, next to a rival on the same data in the same run. Not part of the package, and never a test."""

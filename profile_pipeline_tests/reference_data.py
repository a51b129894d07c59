"""Records whose right answers are known: the worked example, and real data sets that others counted."""

from pathlib import Path

import pytest

WORKED_EXAMPLE = Path(__file__).parent / "worked_example"
"""The four files that open the sample, and `expected.json`: the profile that they make, to the letter."""

REAL = Path(__file__).parents[2] / "shared" / "real"
"""Public data sets with answers computed elsewhere; they are not part of the repository."""

needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the real data sets are not beside the repository")

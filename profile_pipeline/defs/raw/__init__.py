"""Assets and checks of the group `raw`."""

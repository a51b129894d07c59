"""Assets and checks of the group `features`."""

"""Assets and checks of the group `index`."""

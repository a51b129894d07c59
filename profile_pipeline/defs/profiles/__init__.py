"""Assets and checks of the group `profiles`."""

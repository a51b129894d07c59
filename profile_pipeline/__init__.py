"""Point-in-time-correct user profiles, messaging decisions with reasons, and a searchable index."""

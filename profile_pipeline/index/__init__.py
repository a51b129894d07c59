"""The searchable index of profiles: indexed text and tags, embedding, the LanceDB store, search."""

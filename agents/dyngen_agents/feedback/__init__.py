"""People: what they say about texts is kept in a store, travels to and from other tools, and teaches models."""

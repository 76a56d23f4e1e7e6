"""A language model behind an HTTP endpoint as a judge of texts: the question, the endpoint, the answers on disk."""

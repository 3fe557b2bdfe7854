"""Images: from a specification to a decoded, cached data set."""

"""Where data sets come from: one file per kind of source, and the cache of what was decoded."""

"""The lab: data, networks, training, records, statistics and reports."""

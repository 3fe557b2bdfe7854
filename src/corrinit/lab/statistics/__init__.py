"""Arrays in, frozen estimates and decisions out; nothing of the lab is imported."""

"""What a run is: frozen values, and the identity of what they determine; no torch."""

"""Files of weights to networks, and back."""

"""Training: every stage of the embedded model, and the loop, state and data they share."""

"""Pre-training examples from text: slices, records, shuffling, runners."""

"""What a network costs and holds: parameters, MACs, weights, activations."""

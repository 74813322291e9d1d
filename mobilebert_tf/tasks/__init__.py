"""Model Garden tasks: model, data, loss and metrics joined."""

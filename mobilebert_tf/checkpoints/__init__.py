"""Published weights in and out: TF1, Hugging Face, Model Garden, our own."""

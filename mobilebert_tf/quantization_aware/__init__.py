"""Fine-tuning on what the int8 file will compute."""

"""Fine-tuning on tasks: what each binary run_*.py calls."""

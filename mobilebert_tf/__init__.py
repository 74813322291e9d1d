"""MobileBERT in TensorFlow: pre-training, knowledge transfer, fine-tuning."""

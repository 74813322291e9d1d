"""The MobileBERT network: layers, encoder, heads. No files, no flags."""

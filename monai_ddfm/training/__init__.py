"""Training of the prior: slices, their augmentation, the denoising step and its handlers."""

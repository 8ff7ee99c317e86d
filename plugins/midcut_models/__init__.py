"""Models: torchvision's classifiers, any module by its dotted path, and the paper's digit network."""

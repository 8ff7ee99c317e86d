"""Models: torchvision's classifiers, any module by dotted path, and the paper's digit network."""

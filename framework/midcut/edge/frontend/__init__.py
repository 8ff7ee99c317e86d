"""Input and output of an edge: HTTP requests, folders of images, results."""

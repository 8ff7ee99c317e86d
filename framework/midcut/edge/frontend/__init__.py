"""What comes in and goes out: HTTP requests, folders of images, results."""

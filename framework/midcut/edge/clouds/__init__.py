"""Which cloud is asked, whether it fits, and when it is left alone."""

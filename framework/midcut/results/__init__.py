"""The files that runs leave behind: each format is defined once, here, written and read by that definition."""

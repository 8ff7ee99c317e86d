"""What `midcut report` makes of run and sweep directories: one page, its figures, its tables, its numbers."""

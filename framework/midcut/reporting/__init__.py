"""What `midcut report` makes of run and sweep directories: one page, its figures, its tables, its numbers."""

from importlib.util import find_spec

from midcut.errors import ConfigError


def check_installed(wanted_by: str) -> None:
    """Check for the packages of the extra `report` before anything is computed for a figure or a page.

    Args:
        wanted_by: the setting that needs them, such as `plot=true`; the message begins with it.

    Raises:
        ConfigError: one of them is not installed.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise ConfigError(f"{wanted_by} needs {package}: pip install 'midcut[report]'")

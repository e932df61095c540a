"""Apart: packages that may live in a Python of their own, since their pins disagree with ours."""

from __future__ import annotations

import subprocess


def missing_from(python: str, module: str, title: str, mend: str) -> str:
    """Why this interpreter has no such module, in one line with the mend; "" where it has."""
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    try:
        found = subprocess.run([python, "-P", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{title}: {python} cannot be run ({error}); {mend}"
    return "" if found.returncode == 0 else f"{title}: not installed for {python}; {mend}"

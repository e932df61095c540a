"""The report."""
from pathlib import Path
def write_report(run: Path) -> Path:
    """Stub for now."""
    return run / "report.html"

"""The optional packages, by the extra that installs them."""

from __future__ import annotations

from hpc_lstm.jobs.checks.result import Check, package_version

# Packages behind each extra, and what they are for.
EXTRAS = {
    "s3": (("boto3",), "checkpoints on S3"),
    "yahoo": (("yfinance",), "`hpc-lstm fetch`"),
    "report": (("matplotlib", "scipy"), "plots, the HTML report and scaling sweeps"),
}


def check_extras() -> list[Check]:
    """A check for each extra: which of its packages are installed."""
    checks = []
    for extra, (packages, purpose) in EXTRAS.items():
        found = {package: package_version(package) for package in packages}
        text = ", ".join(f"{package} {version or 'not installed'}" for package, version in found.items())
        if all(found.values()):
            checks.append(Check(f"[{extra}]", "ok", text))
        else:
            checks.append(
                Check(f"[{extra}]", "missing", text, f'for {purpose}: pip install "hpc-lstm[{extra}]"')
            )
    return checks

"""Turn the report of `pip install --dry-run` into `requirements.lock`.

What belongs here: one pin for each package of the report, and which packages have none. What does not: which
versions are allowed (`pyproject.toml`). The pins name no registry, so that each machine takes its own.
"""

import json
import re
import sys

HEADER = """\
# Exact versions of everything the project and its development tools need, for Python 3.11 and newer.
# Made by `make lock` from pyproject.toml; change versions there, then run it again.
# Install: pip install -r requirements.lock && pip install --no-build-isolation --no-deps -e .
# The accelerator libraries of torch are not listed: it pins its own, and they differ between machines.
"""

# What torch brings on a machine where it comes without a CPU-only build.
ACCELERATORS = re.compile(r"(nvidia|cuda|triton)(-|$)")


def pins(report: dict) -> list[str]:
    """The sorted lines `name==version` for a report, without the project itself.

    A local version such as `2.13.0+cpu` names one registry's build; without it the pin matches every build.
    """
    packages = [item["metadata"] for item in report["install"] if "dir_info" not in item["download_info"]]
    versions = {re.sub(r"[-_.]+", "-", package["name"]).lower(): package["version"] for package in packages}
    return [
        f"{name}=={version.split('+')[0]}" for name, version in sorted(versions.items()) if not ACCELERATORS.match(name)
    ]


if __name__ == "__main__":
    print(HEADER + "\n".join(pins(json.load(sys.stdin))))

"""The image is built and pays, where a tool that needs no daemon and the image beneath it are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = "localhost/paybell-of-a-test"
HEALTHY = """
set -eu
paybell serve --host 127.0.0.1 >/tmp/log 2>&1 & service=$!
tries=0
until python -c "$1" 2>/dev/null; do
    tries=$((tries + 1))
    test $tries -lt 100 || { cat /tmp/log; exit 1; }
done
kill -TERM $service
wait $service
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run buildah, with no right that a container in a container lacks."""
    return subprocess.run(  # noqa: S603 - found on PATH
        ["buildah", *arguments],  # noqa: S607
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def buildah(*arguments: str) -> str:
    """Return what it said; it must succeed."""
    done = run(*arguments)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout.strip()


def base() -> str:
    """Return the image beneath ours."""
    found = re.search(r"^FROM (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.slow
def test_the_image_builds_and_its_user_can_pay_and_is_alive() -> None:
    if not shutil.which("buildah"):
        pytest.skip("no buildah here")
    if run("inspect", "--type=image", base()).returncode != 0:
        pytest.skip(f"buildah has no image {base()} here, and the tests load none")
    build = ("build", "--pull=never", "--isolation=chroot", "--format=docker", "--quiet")
    image = buildah(*build, "--tag", NAME, str(ROOT)).splitlines()[-1]
    container = buildah("from", "--pull-never", image).splitlines()[-1]
    try:
        inside = ("run", "--isolation=chroot", container, "--")
        assert buildah(*inside, "id", "--user") == "10001"
        said = " ".join(buildah(*inside, "paybell", "demo").split())
        assert "0 lost, 0 duplicated; the books balance" in said
        check = re.search(r'HEALTHCHECK .*"-c", "(.*)"\]', (ROOT / "Dockerfile").read_text())
        assert check
        buildah(*inside, "sh", "-c", HEALTHY, "sh", check[1])
    finally:
        buildah("rm", container)
        buildah("rmi", "--force", image)

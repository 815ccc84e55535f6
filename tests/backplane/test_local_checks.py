"""What the doctor says of the local backplane."""

from pathlib import Path

from mso.backplane import local_checks
from mso.backplane.lease import FileLease
from mso.checkup import Finding, Grade


async def examined(images: Path, lease: Path) -> dict[str, Finding]:
    return {finding.check: finding async for finding in local_checks.check(images, lease)}


async def test_every_program_has_to_be_there(tmp_path: Path) -> None:
    """All that is wrong with the file is told."""
    images = tmp_path / "images.yaml"
    images.write_text("a: [sh]\n")
    assert (await examined(images, tmp_path / "lease"))[local_checks.IMAGES].grade is Grade.OK
    images.write_text("a: [no-such-program]\nb: [./nor-this]\nc: [sh]\n")
    found = (await examined(images, tmp_path / "lease"))[local_checks.IMAGES]
    assert found.grade is Grade.WRONG
    assert "no-such-program" in found.what
    assert "nor-this" in found.what


async def test_who_is_active_is_told_and_not_disturbed(tmp_path: Path) -> None:
    """By its identity; the lock is still its own afterwards. Where nobody is, nothing is made."""
    path, images = tmp_path / "lease", tmp_path / "none"
    assert "none has ever been active" in (await examined(images, path))[local_checks.ACTIVE].what
    assert not path.exists()
    async with FileLease(path) as lease:
        await lease.acquire(lambda _: None)
        found = (await examined(images, path))[local_checks.ACTIVE]
        assert found.what == f"{lease.identity} is active"
    assert (await examined(images, path))[local_checks.ACTIVE].what == "none is active"

"""The file that says what an image means on this machine."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mso.backplane import DeployError
from mso.backplane.images import ImagesError, LocalImage, LocalImages
from mso.model import Reason


def write(directory: Path, text: str) -> Path:
    path = directory / "images.yaml"
    path.write_text(text)
    return path


def a_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    return path


def test_a_list_is_a_command_found_on_the_path_of_mso(tmp_path: Path) -> None:
    """The program is resolved once, when the file is read; the arguments stay as they are."""
    images = LocalImages.load(write(tmp_path, '"fake_model:0.0.1": [sh, -c, ./x, ~/y, 5]'))
    assert images.find("fake_model:0.0.1") == LocalImage((str(shutil.which("sh")), "-c", "./x", "~/y", "5"))


def test_a_mapping_adds_environment_and_directory(tmp_path: Path) -> None:
    """Paths with a slash, and the directory, are relative to the file, not to where MSO was started."""
    program = a_program(tmp_path / "bin" / "run")
    (tmp_path / "work").mkdir()
    text = "image: {command: [bin/run, --fast], environment: {A: b, N: 3, EMPTY: ''}, directory: work}"
    assert LocalImages.load(write(tmp_path, text)).find("image") == LocalImage(
        (str(program), "--fast"), {"A": "b", "N": "3", "EMPTY": ""}, tmp_path / "work"
    )


def test_a_tilde_is_the_home_of_our_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/` begins a path of the user that MSO runs as."""
    monkeypatch.setenv("HOME", str(tmp_path))
    program = a_program(tmp_path / "bin" / "run")
    image = LocalImages.load(write(tmp_path, "image: {command: [~/bin/run], directory: ~/bin}")).find("image")
    assert image == LocalImage((str(program),), {}, tmp_path / "bin")


def test_links_are_kept(tmp_path: Path) -> None:
    """The python of a virtual environment is a link, and is what it is by its own path."""
    (tmp_path / "python").symlink_to(sys.executable)
    assert LocalImages.load(write(tmp_path, "image: [./python]")).find("image").command == (str(tmp_path / "python"),)


def test_json_is_read_as_well(tmp_path: Path) -> None:
    """A file of JSON means the same."""
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"image": {"command": ["sh"]}}))
    assert LocalImages.load(path).find("image") == LocalImage((str(shutil.which("sh")),))


@pytest.mark.parametrize("asked", ("model", "model:latest", "docker.io/model:1", "MODEL:1", "model:1 ", ""))
def test_an_image_is_found_by_its_exact_name_only(tmp_path: Path, asked: str) -> None:
    """Nothing is guessed: an image that is not in the file is named, and so is the file."""
    images = LocalImages.load(write(tmp_path, '"model:1": [sh]'))
    with pytest.raises(DeployError) as refused:
        images.find(asked)
    assert refused.value.reason is Reason.IMAGE_PULL_FAILED
    assert repr(asked) in str(refused.value)
    assert str(tmp_path / "images.yaml") in str(refused.value)


def test_one_error_lists_everything_that_is_wrong(tmp_path: Path) -> None:
    """Each line names the file, the image, and what to do."""
    text = """
1.0: [sh]
"good": [sh]
"no-list": sh
"no-program": [certainly-not-a-program]
"no-file": [./missing]
"odd": {command: [sh, 1.5], environment: {a.b: x, SURE: yes, SECRET: "s3cret\\0"}, directory: missing, user: root}
"empty": {environment: [A]}
"""
    path = write(tmp_path, text)
    with pytest.raises(ImagesError) as refused:
        LocalImages.load(path)
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{path}: image ") for line in lines)
    for wrong in (
        "image 1.0: must be a text; put it in quotes",
        "image 'no-list': command must be a list",
        "image 'no-program': 'certainly-not-a-program' is no program on the PATH of MSO",
        f"image 'no-file': '{tmp_path}/missing' is no program",
        "image 'odd': 'user' is unknown",
        "image 'odd': word 2 of the command must be a text",
        "image 'odd': environment variable 'a.b'",
        "image 'odd': the value of 'SURE' must be a text; put it in quotes",
        "image 'odd': the value of 'SECRET' contains NUL",
        f"image 'odd': directory '{tmp_path}/missing' does not exist",
        "image 'empty': command must be a list",
        "image 'empty': environment must map names to values",
    ):
        assert [line for line in lines if line.startswith(f"{path}: {wrong}")] != [], wrong
    assert len(lines) == len(refused.value.complaints) == 12
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("text", ("", "[a, b]", "just text", "{", "a: [b", "\0"))
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """Whatever is in the file, the error is one line or more that name it."""
    with pytest.raises(ImagesError, match=r"images\.yaml: "):
        LocalImages.load(write(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(ImagesError, match=r"nowhere\.yaml: cannot be read"):
        LocalImages.load(tmp_path / "nowhere.yaml")


def test_a_relative_file_is_relative_to_where_mso_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of the file itself is the caller's."""
    write(tmp_path, "image: [sh]")
    monkeypatch.chdir(tmp_path)
    images: Mapping[str, LocalImage] = LocalImages.load(Path("images.yaml")).images
    assert [*images] == ["image"]
    assert os.path.isabs(images["image"].command[0])  # noqa: PTH117 - a text

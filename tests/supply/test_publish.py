"""What is pushed is signed, with its SBOM and provenance, and everything that is not exactly so is refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from project import script
from publishing import COMMIT, LABELS, PROVENANCE, SBOM, Publisher, Ran, repository_of, sbom_of
from registry import layer, oci_image


def refused(done: Ran, code: int = 1) -> str:
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stdout + done.stderr
    return done.stderr


def test_what_was_published_is_verified(publisher: Publisher, published: str) -> None:
    done = publisher.verify(published)
    assert done.returncode == 0, done.stderr
    digest = publisher.run("oras", "resolve", published).strip()
    signed, attached = done.stdout.splitlines()
    assert signed == f"{repository_of(published)}@{digest}: signed"
    assert attached.startswith(f"{digest}: SBOM sha256:")
    assert attached.endswith(f" of commit {COMMIT[:12]}, signed")


def test_the_layout_arrives_bit_for_bit(publisher: Publisher, reference: str) -> None:
    digests = publisher.push(reference)
    assert publisher.run("oras", "resolve", reference).strip() == digests["manifest"]


def test_the_same_release_again_attaches_nothing_twice(publisher: Publisher, reference: str) -> None:
    """The build is reproducible: a workflow that runs again pushes the same digest."""
    content = uuid.uuid4().bytes
    assert publisher.push(reference, content) == publisher.push(reference, content)
    assert [len(publisher.referrers(reference, kind)) for kind in (SBOM, PROVENANCE)] == [1, 1]
    assert publisher.verify(reference).returncode == 0


def test_the_same_bits_published_by_two_refs_are_verified(publisher: Publisher, reference: str) -> None:
    """`edge` and then a tag of one commit are one digest, with a provenance for each ref that built it."""
    content = uuid.uuid4().bytes
    for ref in ("refs/heads/main", "refs/tags/v1"):
        hosted = {
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "owner/name",
            "GITHUB_WORKFLOW_REF": f"owner/name/.github/workflows/release.yml@{ref}",
        }
        publisher.push(reference, content, environment=hosted)
    assert len(publisher.referrers(reference, PROVENANCE)) == 2
    done = publisher.verify(reference)
    assert done.returncode == 0, done.stderr


def test_two_engines_attach_one_sbom_and_it_names_the_manifest(
    publisher: Publisher, reference: str, tmp_path: Path
) -> None:
    digests = publisher.push(reference)
    (tmp_path / "sbom.json").write_text(sbom_of(digests["manifest"]))  # push() named the config
    assert publisher("attach", reference, tmp_path / "sbom.json", "--key", publisher.key).returncode == 0
    properties = publisher.document(reference, SBOM)["metadata"]["component"]["properties"]
    assert properties == [{"name": "image-id", "value": digests["manifest"]}]
    assert publisher.verify(reference).returncode == 0


def test_two_signed_sboms_of_one_image_are_verified(publisher: Publisher, reference: str) -> None:
    """Newer tools describe the same image in another document; nothing takes the older one back."""
    digests = publisher.push(reference)
    newer = json.loads(sbom_of(digests["manifest"])) | {"version": 2}
    publisher.attach_signed(reference, SBOM, newer)
    done = publisher.verify(reference)
    assert (done.returncode, done.stdout.count("sha256:")) == (0, 5), done.stderr


def test_an_unsigned_attachment_beside_the_signed_one_is_passed_over(
    publisher: Publisher, reference: str, tmp_path: Path
) -> None:
    """Whoever may push can attach: that must neither count nor get in the way."""
    publisher.push(reference)
    (tmp_path / "sbom.json").write_text("{}")
    publisher.run("oras", "attach", "--artifact-type", SBOM, reference, f"sbom.json:{SBOM}", cwd=tmp_path)
    assert publisher.verify(reference).returncode == 0


@pytest.mark.parametrize("identity", [f"sha256:{'0' * 64}", None])
def test_a_signed_sbom_of_another_image_beside_the_right_one_is_refused(
    publisher: Publisher, reference: str, identity: str | None
) -> None:
    publisher.push(reference)
    publisher.attach_signed(reference, SBOM, json.loads(sbom_of(identity)) if identity else {})
    assert f"is an SBOM of {identity or 'nothing'}, not of" in refused(publisher.verify(reference))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("subject", f"a provenance is about sha256:{'0' * 64}, not about"),
        ("commit", f"a provenance names commit {'0' * 40}, the image's label {COMMIT[:7]}"),
        ("everything", "is no provenance"),
    ],
)
def test_a_signed_provenance_that_does_not_fit_beside_the_right_one_is_refused(
    publisher: Publisher, reference: str, wrong: str, said: str
) -> None:
    publisher.push(reference)
    statement = publisher.document(reference, PROVENANCE)
    match wrong:
        case "subject":
            statement["subject"][0]["digest"]["sha256"] = "0" * 64
        case "commit":
            statement["predicate"]["buildDefinition"]["externalParameters"]["revision"] = "0" * 40
        case _:
            statement = {}
    publisher.attach_signed(reference, PROVENANCE, statement)
    assert said in refused(publisher.verify(reference))


def test_the_provenance_names_commit_base_and_subject(publisher: Publisher, published: str, tmp_path: Path) -> None:
    (digest,) = publisher.referrers(published, PROVENANCE)
    publisher.run("oras", "pull", "--output", tmp_path, f"{repository_of(published)}@{digest}")
    statement = json.loads((tmp_path / "provenance.json").read_text())
    image = publisher.run("oras", "resolve", published).strip()
    assert statement["subject"][0]["digest"] == {"sha256": image.removeprefix("sha256:")}
    commit, base = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert commit["digest"] == {"gitCommit": COMMIT}
    assert base == {"uri": "docker://base:1", "digest": {"sha256": "b" * 64}}


def test_a_tag_that_was_moved_to_another_image_is_refused(publisher: Publisher, reference: str) -> None:
    publisher.push(reference)
    other = publisher.folder / "other.tar"
    digest = oci_image(other, layer(file=b"tampered"))["manifest"]
    publisher.run("oras", "copy", "--from-oci-layout", f"{other}@{digest}", reference)
    assert "no signatures found" in refused(publisher.verify(reference))


def test_a_manifest_that_was_changed_in_the_registry_is_refused(publisher: Publisher, reference: str) -> None:
    manifest = publisher.registry.blob(publisher.push(reference)["manifest"])
    manifest.write_bytes(manifest.read_bytes().replace(b"step 1", b"step 2") + b" ")
    refused(publisher.verify(reference), 69)


def test_a_layer_that_was_changed_in_the_registry_cannot_be_pulled(
    publisher: Publisher, reference: str, tmp_path: Path
) -> None:
    content = uuid.uuid4().bytes
    publisher.push(reference, content)
    manifest = json.loads(publisher.run("oras", "manifest", "fetch", reference))
    blob = publisher.registry.blob(manifest["layers"][0]["digest"])
    blob.write_bytes(blob.read_bytes().replace(content, content[::-1]))
    # One blob at a time: oras panics where two fail at once (Go's atomic.Value refuses errors of two types).
    one_by_one = ("--concurrency", "1")
    with pytest.raises(AssertionError, match="mismatch"):
        publisher.run("oras", "copy", *one_by_one, "--to-oci-layout", reference, tmp_path / "pulled:1")


def test_another_key_is_refused(publisher: Publisher, published: str, tmp_path: Path) -> None:
    publisher.run("cosign", "generate-key-pair", cwd=tmp_path)
    refused(publisher("verify", published, "--key", tmp_path / "cosign.pub"))


@pytest.mark.parametrize(("kind", "name"), [(SBOM, "SBOM"), (PROVENANCE, "provenance")])
def test_a_missing_attachment_is_noticed(publisher: Publisher, reference: str, kind: str, name: str) -> None:
    publisher.push(reference)
    (digest,) = publisher.referrers(reference, kind)
    publisher.run("oras", "manifest", "delete", "--force", f"{repository_of(reference)}@{digest}")
    assert f"has 0 {name} attached" in refused(publisher.verify(reference))


def test_an_sbom_put_in_the_place_of_the_signed_one_is_refused(
    publisher: Publisher, reference: str, tmp_path: Path
) -> None:
    publisher.push(reference)
    (digest,) = publisher.referrers(reference, SBOM)
    publisher.run("oras", "manifest", "delete", "--force", f"{repository_of(reference)}@{digest}")
    (tmp_path / "sbom.json").write_text("{}")
    publisher.run("oras", "attach", "--artifact-type", SBOM, reference, f"sbom.json:{SBOM}", cwd=tmp_path)
    assert "has 1 SBOM attached, none of them signed" in refused(publisher.verify(reference))


def test_the_signed_sbom_of_another_image_does_not_count(publisher: Publisher, reference: str, tmp_path: Path) -> None:
    """Whoever may push can list it as a referrer; its own `subject` tells."""
    first = publisher.push(reference)["manifest"]
    (sbom,) = publisher.referrers(reference, SBOM)
    second = publisher.push(reference)["manifest"]
    listed = f"{repository_of(reference)}:sha256-{second.removeprefix('sha256:')}"  # where a registry of OCI 1.0 lists
    index = json.loads(publisher.run("oras", "manifest", "fetch", listed))
    of_first = json.loads(
        publisher.run("oras", "manifest", "fetch", "--descriptor", f"{repository_of(reference)}@{sbom}")
    )
    assert first != second
    for each in index["manifests"]:
        if each["artifactType"] == SBOM:
            each.update(digest=of_first["digest"], size=of_first["size"])
    (tmp_path / "index.json").write_text(json.dumps(index))
    publisher.run("oras", "manifest", "push", listed, tmp_path / "index.json")
    assert publisher.referrers(reference, SBOM) == [sbom]
    assert "has 0 SBOM attached" in refused(publisher.verify(reference))


def test_an_sbom_of_another_image_is_not_attached(publisher: Publisher, published: str, tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text(sbom_of(f"sha256:{'0' * 64}"))
    error = refused(publisher("attach", published, tmp_path / "sbom.json", "--key", publisher.key), 65)
    assert "run scripts/sbom on it" in error


def test_an_sbom_by_the_engines_name_for_what_was_pulled_is_attached(
    publisher: Publisher, reference: str, tmp_path: Path
) -> None:
    """That is what scripts/sbom writes down; which digest it is depends on the engine's store."""
    publisher.push(reference)
    publisher.run("docker", "pull", "--quiet", reference)
    identity = publisher.run("docker", "image", "inspect", "--format", "{{.Id}}", reference).strip()
    publisher.run("docker", "image", "rm", reference)
    (tmp_path / "sbom.json").write_text(sbom_of(identity))
    done = publisher("attach", reference, tmp_path / "sbom.json", "--key", publisher.key)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def joined(publisher: Publisher, reference: str) -> Callable[[], Ran]:
    """One name for two platforms, verified when called."""
    parts = []
    for architecture in ("amd64", "arm64"):
        parts.append(f"{repository_of(reference)}:1-{architecture}")
        publisher.push(parts[-1], architecture=architecture)
    done = publisher("join", reference, *parts, "--key", publisher.key)
    assert done.returncode == 0, done.stderr
    return lambda: publisher.verify(reference)


def test_two_platforms_under_one_name_are_verified_each(
    publisher: Publisher, reference: str, joined: Callable[[], Ran]
) -> None:
    index = json.loads(publisher.run("oras", "manifest", "fetch", reference))
    assert [each["platform"]["architecture"] for each in index["manifests"]] == ["amd64", "arm64"]
    done = joined()
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3), done.stderr


def test_a_missing_sbom_of_one_platform_is_noticed(
    publisher: Publisher, reference: str, joined: Callable[[], Ran]
) -> None:
    (digest,) = publisher.referrers(f"{repository_of(reference)}:1-arm64", SBOM)
    publisher.run("oras", "manifest", "delete", "--force", f"{repository_of(reference)}@{digest}")
    assert "has 0 SBOM attached" in refused(joined())


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("org.opencontainers.image.revision", "0" * 40),
        ("org.opencontainers.image.revision", ""),
        ("org.opencontainers.image.base.digest", ""),
    ],
)
def test_an_image_that_does_not_say_from_what_it_was_built_is_not_pushed(
    publisher: Publisher, reference: str, tmp_path: Path, label: str, value: str
) -> None:
    oci_image(tmp_path / "image.tar", layer(file=b""), labels=LABELS | {label: value})
    refused(publisher("push", tmp_path / "image.tar", reference, "--key", publisher.key), 65)
    with pytest.raises(AssertionError, match="not found"):
        publisher.run("oras", "resolve", reference)  # nor pushed: nobody finds it there, unsigned


def test_what_cannot_be_asked_is_no_verdict(publisher: Publisher, published: str, tmp_path: Path) -> None:
    """A verdict is for an image that was judged: here Sigstore is out of reach, then the key is none."""
    lost = {"TUF_ROOT": str(tmp_path / "tuf"), "HTTPS_PROXY": "http://localhost:1"}
    assert "try again" in refused(publisher("verify", published, "--identity", ".", environment=lost), 69)
    (tmp_path / "key.pub").write_text("no key")
    assert "try again" in refused(publisher("verify", published, "--key", tmp_path / "key.pub"), 69)


def test_what_is_no_image_and_a_registry_that_is_not_there_get_one_line(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(b"")
    refused(publisher("push", tmp_path / "image.tar", "localhost:1/a:1", "--key", publisher.key), 65)
    refused(publisher.verify("localhost:1/a:1"), 69)


def test_a_tool_that_is_missing_is_named(publisher: Publisher, reference: str, tmp_path: Path) -> None:
    done = script("publish", "verify", reference, "--key", publisher.public, environment={"PATH": str(tmp_path)})
    assert "apt-get install cosign oras" in refused(done, 69)

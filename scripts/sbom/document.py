"""What was found in an image, as a CycloneDX document."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cyclonedx.builder.this import this_component
from cyclonedx.contrib.license.exceptions import InvalidSpdxLicenseException
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.license import License
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

VERSION = SchemaVersion.V1_6
IMAGE_ID = "image-id"  # ties the document to one image; `scripts/publish attach` writes its manifest there
LICENSES = LicenseFactory()
Hashes = Mapping[tuple[str, str], list[str]]  # name and version -> sha256 of every file that the lock allows


@dataclass(frozen=True)
class Image:
    name: str
    version: str
    id: str
    created: datetime


def locked_hashes(locks: Iterable[str]) -> Hashes:
    """From the text of lock files."""
    found: dict[tuple[str, str], list[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", "".join(locks), flags=re.MULTILINE):
        pin = re.match(r"([a-z0-9._-]+)==([^\s;]+)", block)
        if pin:
            found[pin[1], pin[2]] = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
    return found


def sbom(image: Image, found: Mapping[str, Any], hashes: Hashes) -> str:
    """CycloneDX JSON. The same image gives the same text: its own creation is the time, its id the serial number.

    Raises:
        ValueError: the document does not fit CycloneDX's schema.
    """
    root = Component(
        type=ComponentType.CONTAINER,
        name=image.name,
        version=image.version,
        bom_ref="image",
        properties=[Property(name=IMAGE_ID, value=image.id)],
    )
    components = [*_python(found["python"], hashes), *_debian(found["debian"], found["system"])]
    tools = ToolRepository(components=[this_component()])
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=root, timestamp=image.created, tools=tools),
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, image.id),
    )
    bom.register_dependency(root, components)
    text = make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=1)
    error = JsonStrictValidator(VERSION).validate_str(text)
    if error is not None:
        raise ValueError(str(error))
    return text + "\n"


def _python(packages: Iterable[Mapping[str, Any]], hashes: Hashes) -> list[Component]:
    """One a name and version; where it lies twice, each place is an occurrence."""
    places: dict[tuple[str, str], list[str]] = {}
    licenses: dict[tuple[str, str], list[str]] = {}
    for package in packages:
        key = package["name"], package["version"]
        places.setdefault(key, []).append(package["location"])
        licenses[key] = package["licenses"]
    components = []
    for (name, version), locations in places.items():
        purl = PackageURL("pypi", name=name, version=version)
        occurrences = [Occurrence(location=place, bom_ref=place) for place in locations]  # sorted by their bom_ref
        components.append(
            Component(
                type=ComponentType.LIBRARY,
                name=name,
                version=version,
                purl=purl,
                bom_ref=str(purl),
                licenses=_licenses(licenses[name, version]),
                evidence=ComponentEvidence(occurrences=occurrences),
                external_references=_distribution(name, hashes.get((name, version), [])),
            )
        )
    return components


def _distribution(name: str, sums: Iterable[str]) -> list[ExternalReference]:
    """Where it came from. The lock's hashes are of a file for each platform; which was installed is not recorded."""
    found = [HashType(alg=HashAlgorithm.SHA_256, content=sum_) for sum_ in sums]
    url = XsUri(f"https://pypi.org/simple/{name}/")
    return [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=url, hashes=found)] if found else []


def _debian(packages: Iterable[Mapping[str, Any]], system: Mapping[str, str]) -> list[Component]:
    components = []
    for package in packages:
        qualifiers = {"arch": package["architecture"], "distro": f"{system['ID']}-{system['VERSION_ID']}"}
        if (package["source"], package["source_version"]) != (package["name"], package["version"]):
            qualifiers["upstream"] = f"{package['source']}@{package['source_version']}"
        purl = PackageURL("deb", system["ID"], package["name"], package["version"], qualifiers)
        sums = [package["sha256"]] if package["sha256"] else []
        components.append(
            Component(
                type=ComponentType.LIBRARY,
                name=package["name"],
                version=package["version"],
                purl=purl,
                bom_ref=str(purl),
                licenses=_licenses(package["licenses"]),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in sums],
            )
        )
    return components


def _licenses(names: list[str]) -> list[License]:
    """One may be an SPDX expression; of several, each is an SPDX id or the name that the package gives it."""
    if len(names) == 1:
        return [LICENSES.make_from_string(names[0])]
    return [_single(name) for name in names]


def _single(name: str) -> License:
    try:
        return LICENSES.make_with_id(name)
    except InvalidSpdxLicenseException:
        return LICENSES.make_with_name(name)

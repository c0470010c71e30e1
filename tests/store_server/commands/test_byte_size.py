import pytest
import typer

from store_server.commands.byte_size import byte_size_text, parse_byte_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1048576", 1 << 20),
        ("512MiB", 512 << 20),
        ("8GiB", 8 << 30),
        ("8 GiB", 8 << 30),
        ("10GB", 10**10),
        ("1.5GiB", 3 << 29),
        ("64Ki", 64 << 10),
        ("7B", 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text, expected):
    assert parse_byte_size(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "-1", "8gib", "8GiBs", "1e9", "0x10", "8 G i B", "²", "9" * 5000])
def test_other_sizes_are_refused(text):
    with pytest.raises(typer.BadParameter, match="such as 1048576, 512MiB or 8GiB"):
        parse_byte_size(text)


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        (0, "0"),
        (1000, "1000"),
        (1025, "1025"),
        (3 << 9, "1536"),
        (16 << 10, "16KiB"),
        (3 << 29, "1536MiB"),
        (2 << 40, "2TiB"),
    ],
)
def test_sizes_are_written_so_that_they_are_read_back(num_bytes, expected):
    assert byte_size_text(num_bytes) == expected
    assert parse_byte_size(expected) == num_bytes

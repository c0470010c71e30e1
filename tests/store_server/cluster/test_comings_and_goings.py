"""What a node's log has of other nodes."""

from structlog.testing import capture_logs

from store_server.cluster.comings_and_goings import ComingsAndGoings


def test_who_goes_away_and_who_comes_is_said_once():
    seen = ComingsAndGoings("own")

    with capture_logs() as logs:
        for present in ("ab", "ab", "b", "b", "abc"):
            seen.see({"own", *present})

    assert [(log["log_level"], log["event"], log["node"]) for log in logs] == [
        ("warning", "another node is away", "a"),
        ("info", "another node is there", "a"),
        ("info", "another node is there", "c"),
    ]


def test_of_the_node_itself_nothing_is_said():
    seen = ComingsAndGoings("own")

    with capture_logs() as logs:
        seen.see([])
        seen.see(["own"])
        seen.see([])

    assert logs == []

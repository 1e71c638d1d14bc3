"""The processes of a replay: domains that no other program is in."""

from __future__ import annotations

import socket

import pytest

from ssvif_ros.replay.process import is_free


@pytest.mark.parametrize("program", [0, 1, 5])
def test_a_domain_is_taken_while_any_program_is_in_it(program: int) -> None:
    """A program that came second stays there when the first has ended."""
    domain = 101  # other tests use 1 to 100; the ports of later ones may be given to any program
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 7400 + 250 * domain + 10 + 2 * program))
        assert not is_free(domain)
    assert is_free(domain)

"""Messages in a folder: whole, in order, each taken once."""

import threading
from pathlib import Path

import pytest
from kombu import Connection, Queue

from pipelines import folder_transport


def _connection(folder: Path) -> Connection:
    return Connection(folder_transport.URL, transport_options=folder_transport.options(folder))


def test_messages_come_out_in_the_order_they_went_in(tmp_path: Path) -> None:
    with _connection(tmp_path) as connection, connection.SimpleQueue("q") as queue:
        for number in range(20):
            queue.put({"n": number})
        taken = []
        for _ in range(20):
            message = queue.get(timeout=2)
            taken.append(message.payload["n"])
            message.ack()
    assert taken == list(range(20))
    assert not list((tmp_path / "taken").iterdir())


def test_a_reader_that_polls_while_others_write_only_sees_whole_messages(tmp_path: Path) -> None:
    """With the transport as shipped this fails within a few hundred messages."""
    num_writers, num_each = 3, 150

    def write() -> None:
        with _connection(tmp_path) as connection, connection.SimpleQueue("q") as queue:
            for _ in range(num_each):
                queue.put({"text": "x" * 20_000})

    writers = [threading.Thread(target=write) for _ in range(num_writers)]
    with _connection(tmp_path) as connection, connection.SimpleQueue("q") as queue:
        for writer in writers:
            writer.start()
        for _ in range(num_writers * num_each):
            message = queue.get(timeout=10)
            assert len(message.payload["text"]) == 20_000
            message.ack()
        for writer in writers:
            writer.join()
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.1)


def test_the_depth_of_a_queue_is_the_number_of_its_files(tmp_path: Path) -> None:
    with _connection(tmp_path) as connection, connection.SimpleQueue("q") as queue:
        for _ in range(7):
            queue.put({})
        with connection.SimpleQueue("q.other") as other:
            other.put({})
        declared = Queue("q")(connection.default_channel).queue_declare(passive=True)
    assert declared.message_count == 7

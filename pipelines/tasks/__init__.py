"""What a worker does with a message: count the attempt, call one service, write down how it ended."""

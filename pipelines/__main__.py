"""`python -m pipelines` is `clinical`: how the processes of one machine start each other."""

if __name__ == "__main__":
    from pipelines.cli import app

    app()

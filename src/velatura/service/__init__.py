"""The HTTP API and its queue: jobs in a database, one worker with one model, results as files in a data folder."""

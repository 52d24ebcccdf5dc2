"""Clients of what lies elsewhere, shared by mirrors and repositories: SFTP hosts with strict keys, S3 servers."""
